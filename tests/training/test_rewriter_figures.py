"""The embedded rewriter: how it is measured, and how it is made."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoTokenizer, LlamaForCausalLM

import assayd
from assay_training.corpora.items import GoldSpan, Label
from assay_training.corpora.rewrites import Rewrite
from assay_training.finetuning.models import load_tokenizer
from assay_training.pocket_rewriter import Phase, Size, train_pocket_rewriter
from assay_training.pocket_rewriter_card import FIX, LOCATE
from assay_training.pocket_rewriter_courses import COPYING, CORRECTING
from assay_training.pocket_rewriter_figures import (
    Weighed,
    edit_ratio,
    held_out_rewrites,
    row_of,
    token_figures,
    weigh,
)
from assay_training.rewriter.asking import Asking, Task
from assay_training.rewriter.correcting import Corrector

ASKING = Asking.by_name(LOCATE, FIX)


SMALL = Size(
    phases=(
        Phase("copying", COPYING, steps=2, peak_rate=1e-3, decay_share=0.5),
        Phase("correcting", CORRECTING, steps=3, peak_rate=1e-3, decay_share=0.5, disguised=True),
    ),
    rows=12,
    glance_rows=4,
    held_out_rows=4,
    batch_size=8,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole making in small."""
    out = tmp_path_factory.mktemp("made")
    train_pocket_rewriter(out, size=SMALL)
    return out


def test_the_whole_making_in_small(made: Path) -> None:
    """A folder that transformers loads, without a chat template, with both cards and weights below 6 MB."""
    folder = made / "rewriter"
    assert sum(file.stat().st_size for file in folder.iterdir()) < 6e6
    assert LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).dtype == torch.float32
    assert AutoTokenizer.from_pretrained(folder).chat_template is None
    training = json.loads((folder / "assay.json").read_text())
    assert training["rows"]["read"] == 12
    assert training["training"]["optimizer"] == "muon"
    assert len((made / "rows.jsonl").read_text().splitlines()) == 12
    card = json.loads((folder / "card.json").read_text())
    assert card["seed"] == 0
    for shares in (card["held_out"], card["held_out_attacked"]):
        assert shares["solutions"] == 4
        assert all(0 <= value <= 1 for name, value in shares.items() if name != "solutions")


def test_each_phase_moves_the_weights(made: Path) -> None:
    """Neither the critic it began as nor its base is what is served."""
    critic = Path(assayd.__file__).parent / "pocket" / "critic"
    first, base, last = (
        load_file(folder / "model.safetensors") for folder in (critic, made / "base", made / "rewriter")
    )
    assert first.keys() == base.keys() == last.keys()
    name = "model.layers.2.mlp.up_proj.weight"
    assert not torch.equal(first[name], base[name])
    assert not torch.equal(base[name], last[name])
    assert last[name].dtype == torch.float16


def test_a_token_is_weighed_as_it_is_alone(made: Path) -> None:
    """The probability of each token behind its own prompt, the end marker last, whatever the batch."""
    folder = made / "rewriter"
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    corrector = Corrector(model, load_tokenizer(folder), ASKING)
    rows = [row_of(rewrite) for rewrite in held_out_rewrites(5)]
    pieces = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for row, weighed in zip(rows, weigh(corrector, rows), strict=True):
        (message,) = ASKING.asked(row, Task.FIX)
        prompt, answer = pieces.encode(message.content).ids, [*pieces.encode(row.prediction).ids, 0]
        with torch.no_grad():
            chances_tv = model(torch.tensor([prompt + answer])).logits[0].softmax(-1)
        alone = [chances_tv[len(prompt) + at - 1, token].item() for at, token in enumerate(answer)]
        assert weighed.probabilities == pytest.approx(alone, abs=1e-5)
        assert "".join(row.prediction[slice(*place)] for place in weighed.places) == row.prediction


def test_rewards_are_those_of_worked_case_g1() -> None:
    """Centred, and clipped to at most a tenth below nothing (papers.md 3.5)."""
    chances = (0.95, 0.6, 0.5, 0.47, 0.45, 0.35, 0.02)
    rewards = Weighed(chances, ((0, 1),) * 7).rewards
    assert rewards == pytest.approx([0, 0, 0, -0.03, -0.05, -0.1, -0.1])


def _rewrite() -> Rewrite:
    """The result 5 of the first line is planted, the second line follows from it."""
    error = GoldSpan(8, 9, Label.WRONG)
    return Rewrite("arithmetic", "q", "r", "1 + 1 = 5\nA: 5", "1 + 1 = 2\nA: 2", 0, error, "", attacked=False)


@pytest.mark.parametrize(
    ("planted", "follows", "kept", "facts"),
    [
        (0.1, 0.2, 0.9, (1.0, 1.0, 1.0)),
        (0.2, 0.1, 0.9, (1.0, 1.0, 0.0)),  # both are paid the least there is
        (0.45, 0.3, 0.9, (0.0, 1.0, 0.0)),
        (0.1, 0.9, 0.3, (1.0, 0.0, 1.0)),
        (0.9, 0.9, 0.9, (0.0, 0.0, 0.0)),  # nothing is paid less than nothing
    ],
)
def test_figures_tell_the_planted_number_from_what_follows_and_what_is_kept(
    planted: float, follows: float, kept: float, facts: tuple[float, ...]
) -> None:
    """Each figure is lost by what it is about."""
    text = _rewrite().prediction
    chances = [0.95] * len(text)
    chances[8], chances[13], chances[2] = planted, follows, kept
    weighed = Weighed(tuple(chances), tuple((at, at + 1) for at in range(len(text))))
    figures = token_figures([_rewrite()], [weighed])
    names = ("reward_lowest_in_error", "reward_below_kept", "least_likely_in_error")
    assert tuple(figures[name] for name in names) == facts


def test_the_edit_ratio_counts_tokens_and_the_end(made: Path) -> None:
    """One digit of an equation is one edit among its tokens and the end marker."""
    folder = made / "rewriter"
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    corrector = Corrector(model, load_tokenizer(folder), ASKING)
    tokens = len(Tokenizer.from_file(str(folder / "tokenizer.json")).encode("1 + 1 = 5").ids) + 1
    assert edit_ratio(corrector, "1 + 1 = 5", "1 + 1 = 2") == pytest.approx(1 / tokens)
    assert edit_ratio(corrector, "1 + 1 = 5", "1 + 1 = 5") == 0


def test_held_out_rewrites_are_what_was_asked_for() -> None:
    """All wrong, or all right; with an attack in each, or in none."""
    assert all(row.error and not row.attacked for row in held_out_rewrites(30))
    assert all(row.error is None and row.attacked for row in held_out_rewrites(30, right=True, attacked=1.0))
