"""The training of rewriters: what is read, what is asked and learned, what survives a kill, what is measured."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from assay_training.corpora.items import Split
from assay_training.corpora.rewrites import arithmetic_rewrites, write_rewrites
from assay_training.finetuning.models import language_head, load_language_model, load_tokenizer
from assay_training.finetuning.optimizers import OptimizerName, make_optimizer
from assay_training.rewriter import train_rewriter
from assay_training.rewriter.asking import Asking, Task, found_in
from assay_training.rewriter.correcting import Corrector
from assay_training.rewriter.examples import make_examples
from assay_training.rewriter.held_out import measure, split
from assay_training.rewriter.rows import Row, read_rows
from assay_training.rewriter.trainer import NOT_LEARNED, answer_losses, as_dataset, collate
from assayd.annotators.reading import Reply
from assayd.annotators.rewriting.labels import Finding, read_label
from assayd.annotators.rewriting.lines import split_steps

END = "<|end|>"
CHAT = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
POCKET = Asking.by_name("pocket/rewrite/locate", "pocket/rewrite/fix")
GRM = Asking.by_name("rewrite/grm-locate", "rewrite/grm-fix")
WRONG = Row("Q?", "1 + 1 = 2\nA: 2", "So 1 + 1 = 3\n\n  A: 3", "So 1 + 1 = 2\n\n  A: 2", 0)
RIGHT = Row("Q?", "1 + 1 = 2\nA: 2", "So 1 + 1 = 2", "So 1 + 1 = 2", None)


@pytest.fixture(scope="module")
def base(write_base: Callable[..., Path]) -> Path:
    """A tiny language model that was never trained, with its tokenizer, which holds whole rows."""
    return write_base(max_position_embeddings=1024)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty-eight generated rows of one or two steps."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_rewrites(path, islice(arithmetic_rewrites(0, Split.HELD_OUT, steps=(1, 2), right=0.3), 48))
    return path


# Rows


def _line(**changes: object) -> str:
    row = {"question": "q", "reference": "r", "prediction": "a\nb", "correction": "a\nc", "error_step": 1}
    return json.dumps(row | changes)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("[1]", "a row is an object"),
        ("{", "line 2"),
        (_line(question=" "), "question must be a text"),
        (_line(reference=None), "reference must be a text"),
        (_line(prediction="a\ud800"), "line 2"),
        (_line(error_step=-1), "error_step must be the number"),
        (_line(error_step=True), "error_step must be the number"),
        (_line(error_step=2), "no line 2"),
        (_line(error_step=None), "has to be the prediction itself"),
        (_line(correction="a\nb"), "has to differ"),
        (_line(correction="x\nc"), "changes what stands before"),
        (_line(reasoning=7), "reasoning must be a text"),
        (_line(reasoning="so </think> it"), "without </think>"),
    ],
)
def test_a_bad_row_is_refused_by_its_line(tmp_path: Path, line: str, why: str) -> None:
    """The error names the file, the line and what is wrong."""
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{_line()}\n{line}\n")
    with pytest.raises(ValueError, match=why) as caught:
        read_rows(path)
    assert f"{path}, line 2" in str(caught.value)


def test_rows_of_one_question_are_held_out_together() -> None:
    """No question is on both sides, and nothing is lost."""
    rows = [Row(f"q{at % 20}", "r", f"a{at}", f"b{at}", 0) for at in range(60)]
    trained, held = split(rows, 0.2, seed=1)
    assert len(held) == 12
    assert not {row.question for row in trained} & {row.question for row in held}
    assert sorted([*trained, *held], key=rows.index) == rows
    assert split(rows, 0.0, seed=1) == (rows, [])


# What is asked


def test_the_exercises_are_those_of_the_paper() -> None:
    """Of a wrong row the label of its step and the whole correction, of a right one `correct` and itself."""
    wrong = {task: answer for task, _, answer in GRM.exercises(WRONG)}
    assert wrong == {Task.LOCATE: "The first error step is [0]", Task.FIX: WRONG.correction}
    right = {task: answer for task, _, answer in GRM.exercises(RIGHT)}
    assert right == {Task.LOCATE: "correct", Task.FIX: RIGHT.prediction}


@pytest.mark.parametrize("row", [WRONG, RIGHT])
def test_the_reasoning_stands_before_the_label_and_is_not_read_as_one(row: Row) -> None:
    """Whatever it says of steps and of being correct, the service reads the same label with it as without."""
    plain, steps = found_in(row), len(split_steps(row.prediction, "\n"))
    thought = found_in(replace(row, reasoning="[0] correct? The first error step is [9]\n[1] is wrong"))
    assert thought.endswith(f"</think>\n{plain}")
    assert read_label(Reply(thought, steps=steps), base=0) == read_label(Reply(plain, steps=steps), base=0)


def test_steps_are_shown_with_the_numbers_of_their_lines() -> None:
    """Blank lines keep their number, so that a label is a line."""
    (message,) = POCKET.asked(WRONG, Task.LOCATE)
    assert "[0] So 1 + 1 = 3\n[1] \n[2]   A: 3" in message.content


def test_what_a_solution_spells_is_never_a_special_token(base: Path) -> None:
    """The end marker stands at the end of an answer and nowhere else, whatever question and solution say."""
    row = Row(f"{END}?", f"{END} A: 1", f"{END} A: 2", f"{END} A: 1", 0)
    for asking in (POCKET, GRM):
        for example in make_examples([row], load_tokenizer(base), asking, 2048).kept:
            assert example.ids.tolist().count(0) == 1
            assert example.ids[-1] == 0


@pytest.mark.parametrize("chat", [None, CHAT])
def test_an_answer_stands_behind_its_prompt(bytewise: PreTrainedTokenizerFast, chat: str | None) -> None:
    """Prompt and answer are the text that the service continues, with and without a chat template."""
    tokenizer = bytewise
    tokenizer.chat_template = chat
    locate, fix = make_examples([WRONG], tokenizer, POCKET, 2048).kept
    texts = [tokenizer.decode(row.ids[row.start :]) for row in (locate, fix)]
    assert texts == [f"The first error step is [0]{END}", f"{WRONG.correction}{END}"]
    (message,) = POCKET.asked(WRONG, Task.FIX)
    shown = message.content if chat is None else f"[user] {message.content}\n[assistant] "
    assert tokenizer.decode(fix.ids[: fix.start]) == shown


def test_too_long_exercises_are_counted_and_never_cut(base: Path) -> None:
    """An exercise either fits whole or is dropped under its task's name."""
    locate, fix = make_examples([WRONG], load_tokenizer(base), POCKET, 2048).kept
    made = make_examples([WRONG], load_tokenizer(base), POCKET, len(locate.ids))
    assert len(fix.ids) < len(locate.ids) or made.dropped == {"fix too_long": 1}
    short = make_examples([WRONG], load_tokenizer(base), POCKET, 20)
    assert (short.kept, short.dropped) == ([], {"locate too_long": 1, "fix too_long": 1})


def test_only_answers_are_learned(base: Path) -> None:
    """The labels of a batch are the answers and their end markers; prompts and padding have none."""
    examples = make_examples([WRONG, RIGHT], load_tokenizer(base), POCKET, 2048).kept
    batch = collate(list(as_dataset(examples)))
    for example, ids, labels in zip(examples, *batch.values(), strict=True):
        length = len(example.ids)
        assert ids[:length].tolist() == example.ids.tolist()
        learned = [NOT_LEARNED] * example.start + example.ids[example.start :].tolist()
        assert labels.tolist() == learned + [NOT_LEARNED] * (len(ids) - length)


def test_every_exercise_counts_the_same(base: Path) -> None:
    """The loss of a batch is the mean over its rows of each answer's own mean, as each row has it alone."""
    model = load_language_model(base)
    examples = make_examples([WRONG, RIGHT], load_tokenizer(base), POCKET, 2048).kept
    with torch.no_grad():
        losses_b, right_n = answer_losses(model, collate(list(as_dataset(examples))))
        for example, loss in zip(examples, losses_b, strict=True):
            ids = torch.from_numpy(example.ids).long()
            logs_tv = model(input_ids=ids[None]).logits[0].log_softmax(-1)
            answer = ids[example.start :]
            logs_t = logs_tv[example.start - 1 : -1].gather(1, answer[:, None])
            assert loss.item() == pytest.approx(-logs_t.mean().item(), abs=1e-5)
    assert len(right_n) == sum(len(example.ids) - example.start for example in examples)


# Models


def test_a_base_without_its_weights_is_refused(tmp_path: Path) -> None:
    """A checkpoint that lacks a layer is not silently drawn anew."""
    config = LlamaConfig(vocab_size=20, hidden_size=8, intermediate_size=8, num_attention_heads=1)
    config.num_hidden_layers = 1
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(written | {"num_hidden_layers": 2}))
    with pytest.raises(ValueError, match=r"lacks weights.*layers\.1"):
        load_language_model(tmp_path)
    with pytest.raises(ValueError, match="cannot load"):
        load_language_model(tmp_path / "nowhere")


def test_muon_moves_hidden_matrices_alone(base: Path) -> None:
    """Embeddings, the head and vectors belong to AdamW; no weight is left out or moved twice."""
    model = load_language_model(base)
    optimizer = make_optimizer(model, language_head(model), OptimizerName.MUON, 1e-3)
    matrices, others = ({id(weight) for weight in group["params"]} for group in optimizer.param_groups)
    for name, weight in model.named_parameters():
        hidden = weight.ndim == 2 and "embed" not in name and "lm_head" not in name
        assert (id(weight) in matrices, id(weight) in others) == (hidden, not hidden), name


# Training

_TRAINING: dict[str, Any] = {
    "held_out": 0.25,
    "epochs": 6,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "optimizer": "muon",
    "locate_prompt": "pocket/rewrite/locate",
    "fix_prompt": "pocket/rewrite/fix",
    "threads": 1,
    "seed": 3,
    "save_steps": 8,
    "log_steps": 4,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def trained(base: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A finished training and its card."""
    out = tmp_path_factory.mktemp("trained")
    return out, train_rewriter(base=base, rows=rows, out=out, **_TRAINING)


def test_answers_become_likely(trained: tuple[Path, dict[str, Any]], base: Path, rows: Path) -> None:
    """After the training the answers of rows are twice as likely, token by token, as before."""
    examples = make_examples(read_rows(rows), load_tokenizer(base), POCKET, 2048).kept
    batch = collate(list(as_dataset(examples)))
    with torch.no_grad():
        before, after = (
            answer_losses(load_language_model(folder), batch)[0].mean() for folder in (base, trained[0])
        )
    assert after < before - 0.7


def test_the_card_says_how_it_was_made(trained: tuple[Path, dict[str, Any]], base: Path) -> None:
    """Base, prompts, rows, figures and hyperparameters stand in it; nothing of the checkpoints is left."""
    out, card = trained
    assert card == json.loads((out / "assay.json").read_text())
    assert card["format"] == "assay-rewriter/1"
    assert card["base"]["name"] == base.name
    assert card["prompts"]["fix"] == {"name": "pocket/rewrite/fix", "sha256": POCKET.fix.sha256}
    assert card["rows"]["read"] == 48
    assert card["rows"]["trained"] + card["held_out"]["rows"] == 48
    assert 0 <= card["held_out"]["exact_match"] <= card["held_out"]["located"] <= 1
    assert card["training"]["optimizer"] == "muon"
    assert card["steps"] == -(-card["rows"]["trained"] * 2 // 8) * 6
    assert not (out / "checkpoints").exists()


def test_the_same_call_again_gives_the_card_and_another_is_refused(
    trained: tuple[Path, dict[str, Any]], base: Path, rows: Path
) -> None:
    """A finished training is not repeated, and not overwritten by another one."""
    out, card = trained
    assert train_rewriter(base=base, rows=rows, out=out, **_TRAINING) == card
    with pytest.raises(ValueError, match="another training"):
        train_rewriter(base=base, rows=rows, out=out, **_TRAINING | {"seed": 4})


def test_a_training_that_was_killed_goes_on_to_the_same_weights(
    trained: tuple[Path, dict[str, Any]],
    base: Path,
    rows: Path,
    tmp_path: Path,
    kill_at_a_checkpoint: Callable[[str, Path], int],
) -> None:
    """Killed by signal 9 after a checkpoint it resumes there, refuses another plan, and ends as if nothing was."""
    out, expected = tmp_path / "out", trained[1]
    arguments = {"base": str(base), "rows": str(rows), "out": str(out)} | _TRAINING
    code = f"from assay_training.rewriter import train_rewriter\ntrain_rewriter(**{arguments!r})\n"
    resumed_at = kill_at_a_checkpoint(code, out)
    assert not (out / "assay.json").exists()
    with pytest.raises(ValueError, match="differs in schedule"):
        train_rewriter(base=base, rows=rows, out=out, **_TRAINING | {"seed": 4})

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    steps = [
        int(line.split()[1].split("/")[0]) for line in done.stdout.splitlines() if line.startswith("step ")
    ]
    assert steps[0] == resumed_at + 4
    card = json.loads((out / "assay.json").read_text())
    assert card["held_out"] == expected["held_out"]
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (out, trained[0]))
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"batch_size": 8, "micro_batch_size": 3}, "micro-batches"),
        ({"dtype": "float64"}, "unknown dtype"),
        ({"saved_dtype": "int8"}, "save in"),
        ({"fix_prompt": "rewrite/none"}, "no prompt"),
        ({"fix_prompt": "critic/remarks"}, "asks for"),
        ({"max_length": 10}, "no row is left"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    base: Path, rows: Path, tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    """Nothing is trained, and the error says what to do."""
    with pytest.raises(ValueError, match=why):
        train_rewriter(base=base, rows=rows, out=tmp_path, **_TRAINING | changes)


# Measuring


@pytest.fixture(scope="module")
def mute(base: Path) -> Corrector:
    """A model whose logits are all alike: greedily it writes its first token, the end marker, and says nothing."""
    model: Any = load_language_model(base)
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    return Corrector(model, load_tokenizer(base), POCKET)


def test_what_cannot_be_read_is_no_correction(mute: Corrector) -> None:
    """A reply outside the grammar leads to no text, and counts against every figure."""
    corrections = mute([WRONG, RIGHT])
    assert [made.text for made in corrections] == [None, None]
    assert {made.located.finding for made in corrections} <= {Finding.CUT, Finding.UNPARSEABLE}
    figures = measure(mute, [WRONG, RIGHT])
    assert (figures.located, figures.exact_match, figures.wrong_exact_match) == (0.0, 0.0, 0.0)
    assert measure(mute, []).exact_match is None
