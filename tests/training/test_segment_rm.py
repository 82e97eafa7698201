"""The training of segment reward models: what is learned, what survives a kill, what is saved and served."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import (
    AutoModelForTokenClassification,
    BertConfig,
    BertForTokenClassification,
    GPT2Config,
    GPT2LMHeadModel,
)

from assay_training.finetuning.batching import LengthGroupedSampler
from assay_training.finetuning.models import folder_digest, load_tokenizer
from assay_training.segment_rm import train_segment_rm
from assay_training.segment_rm.examples import Examples, Reading, Weigher, make_examples
from assay_training.segment_rm.held_out import split
from assay_training.segment_rm.models import (
    load_entropy_model,
    load_reward_model,
    value_head,
)
from assay_training.segment_rm.pairs import read_pairs
from assay_training.segment_rm.trainer import as_dataset, bradley_terry, collate, margins
from assayd.annotators.cutting import BoundaryMode, Cut, cut
from assayd.domain.ports import Deadline, Window
from assayd.domain.rollout import Completion
from assayd.engines.alignment import PolicyTokenizer
from assayd.engines.model_files import digest
from assayd.engines.transformers import SegmentScorer, TokenWeigher
from assayd.settings import EngineName, EngineSettings

CPU = torch.device("cpu")


def _read(pairs: Path, base: Path, cut: Cut, tmp_path: Path, *, max_length: int = 512) -> Examples:
    weigher = Weigher(load_entropy_model(base, CPU, torch.float32), load_tokenizer(base), tmp_path / "cache")
    return make_examples(read_pairs(pairs), load_tokenizer(base), Reading(cut, max_length, 100), weigher)


def test_the_loss_of_worked_case_s5() -> None:
    """Means .825 and -.1 of segment rewards: a margin of .925 and a loss of .333992 (papers.md S5)."""
    row = {
        "chosen_ids": [5] * 10,
        "chosen_ends": [1, 4, 7, 8],
        "rejected_ids": [5] * 6,
        "rejected_ends": [1, 4],
    }
    values_bt = torch.full((2, 10), 7.0)
    values_bt[0, [1, 4, 7, 8]] = torch.tensor([0.5, -0.2, 1.0, 2.0])
    values_bt[1, [1, 4]] = torch.tensor([0.3, -0.5])
    chosen, rejected = (values_bt * collate([row])["shares_bt"]).sum(1)
    torch.testing.assert_close(torch.stack([chosen, rejected]), torch.tensor([0.825, -0.1]))
    assert bradley_terry(chosen - rejected).item() == pytest.approx(0.333992, abs=1e-6)


def test_the_loss_equals_one_computed_row_by_row(base: Path, pairs: Path, tmp_path: Path) -> None:
    """In a ragged batch the loss is that of the rows alone, each with its mask, read at its ends."""
    examples = _read(pairs, base, Cut(c_ent=2.0), tmp_path).kept[::17]
    model = load_reward_model(base, seed=0)
    model.train(mode=False)
    torch.nn.init.normal_(value_head(model)[1].weight)
    total = 0.0
    for example in examples:
        means = []
        for side in (example.chosen, example.rejected):
            ids = torch.from_numpy(side.ids.astype(np.int64))[None]
            with torch.no_grad():
                values = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, :, 0]
            means.append(sum(values[end].item() for end in side.ends) / len(side.ends))
        total += np.log1p(np.exp(means[1] - means[0]))
    loss = bradley_terry(margins(model, collate(list(as_dataset(examples)))))
    assert loss.item() == pytest.approx(total / len(examples), abs=1e-5)


def test_the_head_starts_small_and_without_a_bias(base: Path) -> None:
    """Its weights have the standard deviation 1/(hidden+1), its bias is zero and stays so; the seed decides."""
    head = value_head(load_reward_model(base, seed=0))[1]
    again = value_head(load_reward_model(base, seed=0))[1]
    other = value_head(load_reward_model(base, seed=1))[1]
    assert head.weight.std().item() == pytest.approx(1 / 33, rel=0.4)
    assert not head.bias.any()
    assert not head.bias.requires_grad
    assert torch.equal(head.weight, again.weight)
    assert not torch.equal(head.weight, other.weight)


def test_a_model_that_reads_both_ways_is_refused(tmp_path: Path) -> None:
    """Its reward of a segment would see what comes after the segment."""
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    config.num_labels = 1
    BertForTokenClassification(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="reads both ways"):
        load_reward_model(tmp_path, seed=0)


def test_models_with_another_name_for_their_head_are_trained_too(tmp_path: Path) -> None:
    """GPT-2 calls it classifier, and has matrices that are no linear layers."""
    GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    model = load_reward_model(tmp_path, seed=0)
    assert value_head(model)[0] == "classifier"


def test_a_folder_is_pinned_as_the_service_pins_it(base: Path) -> None:
    """The digest in a card is the revision that the service reports."""
    assert folder_digest(base) == digest(base)


def test_batches_have_rows_of_nearly_one_length_in_an_order_of_the_epoch() -> None:
    """Each epoch has every row once, in another order; the same seed and epoch give the same order."""
    lengths = np.random.default_rng(0).integers(10, 500, 333).tolist()
    sampler, again = LengthGroupedSampler(lengths, 8, seed=1), LengthGroupedSampler(lengths, 8, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(first) == sorted(second) == list(range(333))
    assert first == list(again)
    assert first != second
    whole = np.array([lengths[index] for index in first[:328]]).reshape(-1, 8)
    assert np.mean(whole.max(1) - whole.min(1)) < 40
    assert np.corrcoef(np.arange(len(whole)), whole.mean(1))[0, 1] ** 2 < 0.1


def test_pairs_of_one_prompt_are_held_out_together(base: Path, pairs: Path, tmp_path: Path) -> None:
    """No prompt stands on both sides, and a quarter of the prompts is held out."""
    trained, kept_out = split(_read(pairs, base, Cut(), tmp_path).kept, 0.25, seed=0)
    assert not {row.problem for row in trained} & {row.problem for row in kept_out}
    assert (len(trained), len(kept_out)) == (60, 20)
    assert split(trained, 0.0, seed=0) == (trained, [])


_TRAINING: dict[str, Any] = {
    "epochs": 6,
    "batch_pairs": 8,
    "micro_batch_pairs": 4,
    "learning_rate": 3e-3,
    "held_out": 0.25,
    "cut": Cut(c_ent=2.0),
    "device": "cpu",
    "threads": 1,
    "save_steps": 4,
    "log_steps": 4,
}


@pytest.fixture(scope="module")
def trained(
    base: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A model that was trained without a break, and its card."""
    out = tmp_path_factory.mktemp("trained")
    threads = torch.get_num_threads()
    yield out, train_segment_rm(base=base, pairs=pairs, out=out, optimizer="muon", **_TRAINING)
    torch.set_num_threads(threads)


def test_a_word_that_decides_is_learned(trained: tuple[Path, dict[str, Any]]) -> None:
    """The pairs that were held out are ranked right."""
    _, card = trained
    assert card["held_out"]["pairs"] == 20
    assert card["held_out"]["accuracy"] > 0.9
    assert card["held_out"]["mean_margin"] > 0.1


def test_the_folder_is_a_checkpoint_that_loads(trained: tuple[Path, dict[str, Any]], base: Path) -> None:
    """Transformers finds every weight of a token classifier with one label, and nothing of the training is left."""
    out, card = trained
    assert {path.name for path in out.iterdir()} == {
        "assay.json",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    model, info = AutoModelForTokenClassification.from_pretrained(out, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.config.num_labels == 1
    assert not value_head(model)[1].bias.any()
    assert load_tokenizer(out).get_vocab() == load_tokenizer(base).get_vocab()
    assert json.loads((out / "assay.json").read_text()) == card


def test_the_card_says_how_it_was_made(trained: tuple[Path, dict[str, Any]], base: Path) -> None:
    """Models by their digests, the cut, the pairs by count and digest, the steps and the versions."""
    _, card = trained
    pinned = {"name": "tiny", "revision": folder_digest(base)}
    assert card["format"] == "assay-segment-rm/1"
    assert card["base"] == card["entropy_model"] == pinned
    assert card["cut"] == {
        "segmenter": "entropy",
        "boundary_mode": "segment",
        "c_ent": 2.0,
        "segment_length": 32,
    }
    assert {key: card["pairs"][key] for key in ("read", "trained", "dropped")} == {
        "read": 80,
        "trained": 60,
        "dropped": {},
    }
    assert card["pairs"]["sha256"].startswith("sha256:")
    assert (card["max_length"], card["max_prompt_length"], card["seed"], card["steps"]) == (512, 1728, 0, 48)
    assert set(card["versions"]) == {"assay", "torch", "transformers", "trl"}
    assert card["training_time_s"] > 0


async def test_the_service_sees_the_margins_that_training_saw(
    trained: tuple[Path, dict[str, Any]], base: Path, pairs: Path, tmp_path: Path
) -> None:
    """Its engines weigh, and score the same cut, so that the mean rewards of a pair differ by the same margin."""
    window, deadline = Window(512, 1728), Deadline.after(60)
    weigher = await TokenWeigher.open(EngineSettings(engine=EngineName.TRANSFORMERS, model=str(base)))
    scorer = await SegmentScorer.open(EngineSettings(engine=EngineName.TRANSFORMERS, model=str(trained[0])))
    tokenizer = PolicyTokenizer(weigher.model, Tokenizer.from_file(str(base / "tokenizer.json")))
    examples = _read(pairs, base, Cut(c_ent=2.0), tmp_path).kept[:8]
    model = AutoModelForTokenClassification.from_pretrained(trained[0])
    expected = margins(model, collate(list(as_dataset(examples)))).tolist()
    for pair, margin in zip(read_pairs(pairs), expected, strict=False):
        means = []
        for text in (pair.chosen, pair.rejected):
            completion = Completion(*tokenizer.encode(text))
            stats = await weigher.weigh(pair.prompt, completion, window=window, deadline=deadline)
            segments = cut(completion, stats.entropies, Cut(c_ent=2.0))
            scores = await scorer.score(pair.prompt, completion, segments, window=window, deadline=deadline)
            means.append(np.mean(scores.values))
        assert means[0] - means[1] == pytest.approx(margin, abs=1e-5)
    await weigher.close()
    await scorer.close()


def test_the_same_call_again_gives_the_card_and_another_is_refused(
    trained: tuple[Path, dict[str, Any]], base: Path, pairs: Path
) -> None:
    """A finished model is not trained twice, nor overwritten by a training of other arguments."""
    out, card = trained
    written = (out / "model.safetensors").stat().st_mtime_ns
    assert train_segment_rm(base=base, pairs=pairs, out=out, optimizer="muon", **_TRAINING) == card
    with pytest.raises(ValueError, match="resume off"):
        train_segment_rm(base=base, pairs=pairs, out=out, optimizer="adamw", **_TRAINING)
    assert (out / "model.safetensors").stat().st_mtime_ns == written


def test_a_training_that_was_killed_goes_on_to_the_same_weights(
    trained: tuple[Path, dict[str, Any]],
    base: Path,
    pairs: Path,
    tmp_path: Path,
    kill_at_a_checkpoint: Callable[[str, Path], int],
) -> None:
    """Killed by signal 9 after a checkpoint, with another one torn, it resumes there and ends as if nothing was."""
    out, expected = tmp_path / "out", trained[1]
    models = {"base": str(base), "pairs": str(pairs), "out": str(out), "optimizer": "muon"}
    options = {key: value for key, value in _TRAINING.items() if key != "cut"}
    code = (
        "from assay_training.segment_rm import train_segment_rm\n"
        "from assayd.annotators.cutting import Cut\n"
        f"train_segment_rm(cut=Cut(c_ent=2.0), **{models | options!r})\n"
    )
    resumed_at = kill_at_a_checkpoint(code, out)
    assert not (out / "assay.json").exists()
    torn = out / "checkpoints" / "checkpoint-1000"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match="differs in schedule"):
        train_segment_rm(base=base, pairs=pairs, out=out, **_TRAINING)

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    steps = [
        int(line.split()[1].split("/")[0]) for line in done.stdout.splitlines() if line.startswith("step ")
    ]
    assert steps[0] == resumed_at + 4
    assert steps[-1] == 48
    card = json.loads((out / "assay.json").read_text())
    assert card["held_out"] == pytest.approx(expected["held_out"], abs=1e-4)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (out, trained[0]))
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], atol=1e-5, rtol=1e-4)


def test_frozen_weights_stay_and_a_file_of_held_out_pairs_is_measured(
    base: Path, pairs: Path, tmp_path: Path
) -> None:
    """With AdamW, weights that a pattern names are saved as they were; half precision halves the file."""
    others = {
        "epochs": 1,
        "held_out": pairs,
        "freeze": ("embed", "layers.0"),
        "saved_dtype": "float16",
        "cut": Cut(boundary_mode=BoundaryMode.BANDIT),
    }
    card = train_segment_rm(base=base, pairs=pairs, out=tmp_path, **{**_TRAINING, **others})
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert torch.equal(after["model.embed_tokens.weight"], before["model.embed_tokens.weight"].half())
    frozen, moved = "model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"
    assert torch.equal(after[frozen], before[frozen].half())
    assert not torch.equal(after[moved], before[moved].half())
    assert card["entropy_model"] is None
    assert card["held_out"]["pairs"] == 80


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"batch_pairs": 9}, "micro-batches of 4"),
        ({"dtype": "float8"}, "float8"),
        ({"saved_dtype": "float8"}, "float8"),
        ({"optimizer": "sgd"}, "sgd"),
        ({"freeze": ("nothing",)}, "nothing"),
        ({"max_length": 5}, "no pair is left"),
        ({"max_prompt_length": 0}, "at least 1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    base: Path, pairs: Path, tmp_path: Path, options: dict[str, Any], problem: str
) -> None:
    """With what is wrong, before anything is trained."""
    with pytest.raises(ValueError, match=problem):
        train_segment_rm(base=base, pairs=pairs, out=tmp_path, **{**_TRAINING, **options})
