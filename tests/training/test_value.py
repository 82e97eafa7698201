"""The training of value heads: what is learned, which epoch is kept, and that the service says what was measured."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from assay_training.finetuning.models import load_language_model, load_tokenizer
from assay_training.value import train_value
from assay_training.value.fit import Schedule, error_of, fit
from assay_training.value.head import TrainableHead
from assay_training.value.rows import Row, digest_of, read_rows, split
from assay_training.value.states import States
from assayd.__main__ import app
from assayd.domain.ports import Deadline, Window
from assayd.domain.rollout import Message, Role
from assayd.engines.transformers import PromptValuer
from assayd.engines.transformers.value_head import load_value_head
from assayd.settings import EngineName, ValueSettings

WORDS = ("good", "bad")
RATE = 3e-3


def prompt(text: str) -> tuple[Message, ...]:
    """One user message."""
    return (Message(Role.USER, text),)


def learnable(count: int = 120) -> list[Row]:
    """Prompts of one word that decides, with rewards around 0.8 and 0.2."""
    rows = []
    for number in range(count):
        word = WORDS[number % 2]
        reward = (0.8 if word == "good" else 0.2) + 0.1 * (-1) ** (number // 2)
        rows.append(Row(prompt(f"{number // 2} say {word}"), reward))
    return rows


def states_of(base: Path, rows: Sequence[Row], *, cache_bytes: float = 1e9) -> States:
    """The states of these rows' prompts."""
    states = States(
        load_language_model(base), load_tokenizer(base), max_prompt_length=640, cache_bytes=cache_bytes
    )
    states.learn([row.prompt for row in rows])
    return states


def schedule(**changes: Any) -> Schedule:
    """A short one."""
    return Schedule(
        **{
            "epochs": 12,
            "batch_size": 16,
            "learning_rate": RATE,
            "dropout": 0.1,
            "heads": 8,
            "seed": 0,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A head in a folder, and its card."""
    out = tmp_path_factory.mktemp("value") / "head"
    card = train_value(
        base=base, rows=learnable(), out=out, epochs=30, learning_rate=RATE, held_out=0.2, device="cpu"
    )
    return out, card


def test_it_learns_what_a_prompt_is_worth(trained: tuple[Path, dict[str, Any]]) -> None:
    """Held-out prompts are foretold better than by the mean; the noise of rewards is left."""
    figures = trained[1]["held_out"]
    assert figures["prompts"] == 12
    assert figures["mse"] < 0.5 * figures["constant"]
    assert figures["explained"] == pytest.approx(1 - figures["mse"] / figures["constant"])


async def test_the_service_says_what_was_measured(trained: tuple[Path, dict[str, Any]], base: Path) -> None:
    """Two implementations, one number: the held-out error is that of the service's own values."""
    out, card = trained
    settings = ValueSettings(
        engine=EngineName.TRANSFORMERS, model=str(base), head=str(out), device="cpu", dtype="float32"
    )
    engine = await PromptValuer.open(settings)
    _, _, measuring = split(learnable(), 0.2, 0)
    values = [
        (await engine.value(row.prompt, window=Window(), deadline=Deadline.after(60))).value
        for row in measuring
    ]
    await engine.close()
    errors = [(value - (row.reward or 0)) ** 2 for value, row in zip(values, measuring, strict=True)]
    assert sum(errors) / len(errors) == pytest.approx(card["held_out"]["mse"], abs=1e-5)


def test_the_card_pins_the_base_and_what_was_done(trained: tuple[Path, dict[str, Any]]) -> None:
    """Everything that decides the numbers."""
    out, card = trained
    assert card == json.loads((out / "assay.json").read_text())
    assert card["format"] == "assay-value-head/1"
    assert card["base"]["revision"].startswith("sha256:")
    assert card["rows"]["sha256"] == digest_of(learnable())
    assert (card["max_value"], card["heads"], card["reward"]) == (1.0, 8, None)


def test_both_heads_compute_the_same(base: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    """PyTorch's attention in training and plain products in the service, on ragged rows."""
    out, _ = trained
    states = states_of(base, learnable())
    head = TrainableHead(states.width, heads=8, max_value=1.0, dropout=0.1)
    head.load_state_dict(load_file(out / "value_head.safetensors"))
    head.train(mode=False)
    hidden_btd = torch.randn(4, 9, states.width)
    lengths_b = torch.tensor([9, 1, 4, 7])
    with torch.no_grad():
        ours_b = load_value_head(out, states.width)(hidden_btd, lengths_b)
        theirs_b = head(hidden_btd, lengths_b)
    assert torch.allclose(ours_b, theirs_b, atol=1e-6)


def test_the_base_is_not_moved(base: Path) -> None:
    """It is frozen: no weight of it changes, and no gradient reaches it."""
    rows = learnable(40)
    states = states_of(base, rows, cache_bytes=0)
    before = {name: weight.clone() for name, weight in states._model.named_parameters()}
    fit(states, rows, rows, 1.0, schedule(epochs=2))
    for name, weight in states._model.named_parameters():
        assert torch.equal(before[name], weight)
        assert weight.grad is None


def test_the_epoch_of_the_least_held_out_error_is_kept(base: Path) -> None:
    """Not the last one and not that of the least training error, which the released code takes."""
    rows = learnable(24)
    rng = torch.Generator().manual_seed(0)
    choosing = [Row(row.prompt, float(torch.rand((), generator=rng))) for row in learnable(24)]
    states = states_of(base, [*rows, *choosing])
    fitted = fit(states, rows, choosing, 1.0, schedule(epochs=40, learning_rate=1e-2))
    assert fitted.errors[fitted.epoch - 1] == min(fitted.errors) < fitted.errors[-1]
    assert error_of(fitted.head, states, choosing) == pytest.approx(min(fitted.errors))


def test_dropout_ends_where_measuring_begins(base: Path) -> None:
    """The same prompt has the same value twice; in training mode it has not."""
    rows = learnable(16)
    states = states_of(base, rows)
    fitted = fit(states, rows, rows, 1.0, schedule(epochs=1, dropout=0.5))
    assert error_of(fitted.head, states, rows) == error_of(fitted.head, states, rows)
    hidden_btd, lengths_b = states([row.prompt for row in rows])
    fitted.head.train()
    assert not torch.equal(fitted.head(hidden_btd, lengths_b), fitted.head(hidden_btd, lengths_b))


def test_states_are_the_same_kept_or_computed_anew(base: Path) -> None:
    """Whether they fit into memory decides the time alone."""
    rows = learnable(10)
    kept, anew = (states_of(base, rows, cache_bytes=size) for size in (1e9, 0))
    prompts = [row.prompt for row in rows]
    (kept_btd, lengths_b), (anew_btd, others_b) = kept(prompts), anew(prompts)
    assert lengths_b.tolist() == others_b.tolist() == kept.lengths(prompts)
    for row, length in enumerate(lengths_b.tolist()):
        assert torch.allclose(kept_btd[row, :length], anew_btd[row, :length], atol=1e-5)


def test_rows_of_one_prompt_stay_together() -> None:
    """No prompt is trained on that is held out, and the halves are apart."""
    rows = [Row(prompt(str(number % 20)), number / 100) for number in range(100)]
    parts = split(rows, 0.2, 3)
    prompts = [{row.prompt for row in part} for part in parts]
    assert [len(part) for part in prompts] == [16, 2, 2]
    assert len(set().union(*prompts)) == 20
    assert sum(map(len, parts)) == 100


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["[]"], "line 1"),
        (['{"prompt": "p", "reward": true}'], "finite"),
        (['{"prompt": "p", "reward": NaN}'], "finite"),
        (['{"prompt": 3, "reward": 1}'], "messages"),
        (['{"prompt": [{"role": "king", "content": "x"}], "reward": 1}'], "line 1"),
        (['{"prompt": "p", "reward": 1}', '{"prompt": "q"}'], "some have none"),
        ([], "no rows"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, lines: list[str], said: str) -> None:
    """By file and line."""
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=said):
        read_rows(file)


@pytest.mark.parametrize(
    ("reward", "said"), [(1.5, "max_value"), (-0.1, "bring the smallest to 0"), (None, "reward")]
)
def test_rewards_that_a_head_cannot_say_are_refused(
    base: Path, tmp_path: Path, reward: float | None, said: str
) -> None:
    """Before anything is trained."""
    rows = [*learnable(20), Row(prompt("x"), reward)]
    with pytest.raises(ValueError, match=said):
        train_value(base=base, rows=rows, out=tmp_path / "head", device="cpu")


def test_too_few_prompts_are_refused(base: Path, tmp_path: Path) -> None:
    """Held-out prompts have to come from somewhere."""
    with pytest.raises(ValueError, match="too few"):
        train_value(base=base, rows=learnable(2), out=tmp_path / "head", device="cpu")


def test_the_command_lets_the_policy_write_and_the_service_reward(base: Path, tmp_path: Path) -> None:
    """From prompts alone: completions, rewards by the components of a call, a head, and what is written of it all."""
    prompts, out, components = (tmp_path / name for name in ("prompts.jsonl", "head", "components.json"))
    prompts.write_text("".join(json.dumps({"prompt": f"Say {number}."}) + "\n" for number in range(20)))
    components.write_text(json.dumps([{"name": "long", "kind": "length", "length_target": 8}]))
    config = tmp_path / "assay.toml"
    config.write_text('[sequence]\nengine = "fake"\n')
    arguments = [str(prompts), str(out), "--base", str(base), "--components", str(components)]
    numbers = ["--samples", "2", "--max-tokens", "8", "--epochs", "2", "--device", "cpu", "--held-out", "0.3"]
    result = CliRunner().invoke(app, ["train", "value", *arguments, *numbers, "--config", str(config)])
    assert result.exit_code == 0, result.output
    card = json.loads((out / "assay.json").read_text())
    written = [json.loads(line) for line in (out / "generations.jsonl").read_text().splitlines()]
    assert len(written) == card["rows"]["read"] == 40 - card["generations"]["failed"]
    assert all(0 < row["reward"] <= 1 for row in written)
    (part,) = card["reward"]
    assert (part["kind"], part["weight"], part["length_target"]) == ("length", 1.0, 8)
    assert (card["generations"]["temperature"], card["generations"]["samples"]) == (1.0, 2)


def test_word_counts_are_a_command_too(tmp_path: Path) -> None:
    """In how many texts, not how often."""
    rows, out = tmp_path / "rows.jsonl", tmp_path / "words.json"
    rows.write_text('{"completion": "one one two"}\n{"response": "two"}\n')
    result = CliRunner().invoke(app, ["train", "document-frequencies", str(rows), str(out)])
    assert result.exit_code == 0, result.output
    table = json.loads(out.read_text())
    assert (table["documents"], table["frequency"]) == (2, {"one": 1, "two": 2})
