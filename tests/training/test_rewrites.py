"""The generated corrections: what differs between a solution and its correction, and what does not."""

import re
from dataclasses import astuple
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from assay_training.corpora.attacks import CALLS
from assay_training.corpora.items import Split
from assay_training.corpora.planting import ERROR_KINDS
from assay_training.corpora.problems import evaluate
from assay_training.corpora.rewrites import Rewrite, arithmetic_rewrites, disguised, write_rewrites
from assay_training.corpora.words import NAMES, OBJECTS
from assay_training.rewriter.rows import read_rows
from assayd.annotators.rewriting.lines import labelled

_EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (?:\$?<<\d+[-+*/]\d+=\d+>>)?(\d+)")
both_splits = pytest.mark.parametrize("split", list(Split))


def _rows(split: Split, count: int = 300, *, attacked: float = 0.2, right: float = 0.0) -> list[Rewrite]:
    return list(islice(arithmetic_rewrites(3, split, right=right, attacked=attacked), count))


def _answer(text: str) -> str:
    return re.findall(r"A: (\d+)", text)[0]


@both_splits
def test_a_correction_changes_numbers_alone_and_none_before_the_error(split: Split) -> None:
    """Without its digits it is the prediction, up to the planted number it is it to the character."""
    for row in _rows(split):
        assert row.error is not None
        assert row.error_step is not None
        assert re.sub(r"\d+", "", row.prediction) == re.sub(r"\d+", "", row.correction)
        assert row.prediction[: row.error.start] == row.correction[: row.error.start]
        number = row.prediction[row.error.start : row.error.end]
        assert re.fullmatch(r"\d+", number)
        assert not row.correction.startswith(number, row.error.start) or (
            row.correction[row.error.start + len(number)].isdigit()
        )


@both_splits
def test_the_step_is_the_line_of_the_planted_number(split: Split) -> None:
    """Counted with the blank lines, of which some solutions have one between any two steps."""
    blank = 0
    for row in _rows(split):
        assert row.error is not None
        assert row.prediction[: row.error.start].count("\n") == row.error_step
        blank += "\n\n" in row.prediction
    assert 0 < blank < 60


@both_splits
def test_correction_and_reference_are_right_and_take_the_same_steps(split: Split) -> None:
    """Every equation of both holds, they are the same equations, and the wrong answer differs from theirs."""
    for row in _rows(split, attacked=0.0):
        mended, reference = (
            [match.groups() for match in _EQUATION.finditer(text)] for text in (row.correction, row.reference)
        )
        assert mended == reference
        for left, operator, right, result in mended:
            assert evaluate(operator, int(left), int(right)) == int(result)
        assert _answer(row.correction) == _answer(row.reference) != _answer(row.prediction)


@both_splits
def test_the_reference_tells_every_step_in_another_sentence(split: Split) -> None:
    """Line by line, without the numbers, no sentence of the reference is that of the prediction."""
    for row in _rows(split, attacked=0.0):
        mine, other = (
            [re.sub(_EQUATION, "", line) for line in text.split("\n") if _EQUATION.search(line)]
            for text in (row.correction, row.reference)
        )
        assert all(own != its for own, its in zip(mine, other, strict=True))


@both_splits
def test_the_reasoning_quotes_each_line_and_the_right_one_up_to_the_error(split: Split) -> None:
    """Labels are those that the service shows; a claim stands in its line, and only the last one is wrong."""
    for row in _rows(split, right=0.3):
        found = row.reasoning.split("\n")
        shown = labelled(row.prediction, "\n", 0).split("\n")
        assert len(found) == (len(shown) if row.error_step is None else row.error_step + 1)
        for at, (said, line) in enumerate(zip(found, shown, strict=False)):
            label, _, rest = said.partition(" ")
            assert line.startswith(label)
            if rest == "none":
                continue
            claim, right, verdict = rest.split(" | ")
            assert verdict == ("wrong" if at == row.error_step else "correct")
            assert (claim.strip('"') == right) == (verdict == "correct")
            numbers = iter(re.findall(r"\d+", line[len(label) :]))
            assert all(number in numbers for number in re.findall(r"\d+", claim))
            assert right in row.reference or "<<" in row.reference


@pytest.mark.parametrize("words", [None, 3])
def test_a_disguise_changes_words_alone_and_the_same_one_everywhere(words: int | None) -> None:
    """Numbers, lines and what is wrong stay; a few words in place of many repeat themselves."""
    random, pieces, put_in = Random(0), ["hold", "ence", "What", "tiply"], 0
    for row in _rows(Split.TRAIN, 100, right=0.2):
        made = disguised(row, random, pieces, words)
        assert (made.error_step, made.reasoning) == (row.error_step, row.reasoning)
        for mine, its in ((made.prediction, row.prediction), (made.correction, row.correction)):
            assert re.findall(r"\d+|\n", mine) == re.findall(r"\d+|\n", its)
        if made.error is not None and row.error is not None:
            wrong, was = (
                each.prediction[each.error.start : each.error.end] for each in (made, row) if each.error
            )
            assert wrong == was
        pairs = list(zip(_words(row), _words(made), strict=True))
        given = dict(pairs)
        assert all(given[old] == new for old, new in pairs)
        changed = {new for old, new in given.items() if old != new}
        assert words is None or len(changed) <= words
        put_in += len(changed)
    assert put_in > 100


def _words(row: Rewrite) -> list[str]:
    return re.findall(r"[A-Za-z]{2,}", f"{row.reference}\n{row.prediction}\n{row.correction}")


def test_all_kinds_of_errors_are_planted_and_right_ones_are_copied() -> None:
    """About the share that was asked for has nothing to correct; the others fall into all kinds."""
    rows = _rows(Split.TRAIN, 400, right=0.25)
    copies = [row for row in rows if row.error_step is None]
    assert 0.18 < len(copies) / len(rows) < 0.32
    assert all(row.correction == row.prediction and row.error is None for row in copies)
    assert {row.kind for row in rows} == {*ERROR_KINDS, "none"}


@both_splits
def test_an_attack_is_carried_along(split: Split) -> None:
    """What is said to the judge stands in the correction as well, in the words of the split."""
    rows = _rows(split, attacked=1.0)
    calls = CALLS[split]
    assert all(row.attacked for row in rows)
    called = sum(any(call.lower() in row.correction.lower() for call in calls) for row in rows)
    assert called > 60
    assert any("The first error step is [" in row.correction for row in rows)


def test_held_out_rows_use_their_own_words() -> None:
    """No listed name or object of training stands in a held-out row."""
    words = {*NAMES[Split.TRAIN], *OBJECTS[Split.TRAIN]}
    for row in _rows(Split.HELD_OUT, attacked=0.0):
        used = set(re.findall(r"[A-Za-z]+", f"{row.prompt} {row.reference} {row.prediction}"))
        assert not used & words


def test_the_same_seed_gives_the_same_rows() -> None:
    """Rows are a function of the arguments, and other seeds give others."""
    first, again, other = (list(islice(arithmetic_rewrites(seed, Split.TRAIN), 20)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_rows_are_written_as_the_training_reads_them(tmp_path: Path) -> None:
    """Question, reference, prediction, correction, step and reasoning come back as they were."""
    rows = _rows(Split.TRAIN, 40, right=0.3)
    write_rewrites(tmp_path / "rows.jsonl", rows)
    assert [astuple(row) for row in read_rows(tmp_path / "rows.jsonl")] == [
        (row.prompt, row.reference, row.prediction, row.correction, row.error_step, row.reasoning)
        for row in rows
    ]
