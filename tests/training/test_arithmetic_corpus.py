"""The arithmetic corpus: planted errors are wrong, right solutions are right, spans are where the reply says."""

import re
from functools import cache
from itertools import islice

import pytest

from assay_training.corpora.arithmetic import arithmetic_items
from assay_training.corpora.items import Item, Label, Split

_EQUATION = re.compile(r"(\d+) ?([-+*/]) ?(\d+) ?= ?(\d+)")
_COUNT = 150


@cache
def _items(split: Split, **options: float) -> list[Item]:
    return list(islice(arithmetic_items(7, split, **options), _COUNT))


def _lines(item: Item) -> list[str]:
    return [line for line in item.completion.split("\n") if line.strip()]


def _holds(text: str) -> bool:
    left, sign, right, result = _EQUATION.fullmatch(text).groups()  # type: ignore[union-attr]
    a, b, c = int(left), int(right), int(result)
    return {"+": a + b == c, "-": a - b == c, "*": a * b == c, "/": a == b * c}[sign]


@pytest.mark.parametrize("split", Split)
def test_spans_are_the_quote_of_the_wrong_line(split: Split) -> None:
    """The gold span of a wrong item is the text that the last line of its reply quotes; a right item has none."""
    for item in _items(split, attacked=0.3):
        last = item.reply.split("\n")[-1]
        if item.kind == "none":
            assert item.spans == ()
            assert "| wrong" not in item.reply
        else:
            (span,) = item.spans
            assert span.label is Label.WRONG
            quote = re.fullmatch(r'\[\d+\] "(.+)" \| .+ \| wrong', last)
            assert quote is not None
            assert item.completion[span.start : span.end] == quote[1]


@pytest.mark.parametrize("split", Split)
def test_right_solutions_are_right(split: Split) -> None:
    """Every equation of an item without an error holds, and `A:` repeats the last result."""
    for item in (item for item in _items(split) if item.kind == "none"):
        equations = _EQUATION.findall(item.completion.replace("<<", " ; "))
        assert equations
        assert all(_holds(match[0]) for match in _EQUATION.finditer(item.completion))
        assert _lines(item)[-1] == f"A: {equations[-1][3]}"


def test_wrong_results_are_wrong_and_copied_numbers_are_not_the_question_s() -> None:
    """An `arithmetic` error is an equation that does not hold; the other kinds hold but start from another number."""
    for item in _items(Split.HELD_OUT):
        if item.kind not in ("arithmetic", "copy", "carry"):
            continue
        (span,) = item.spans
        claim = item.completion[span.start : span.end]
        assert _holds(claim) == (item.kind != "arithmetic")
        derived = item.reply.split("\n")[-1].split(" | ")[1]
        if item.kind == "arithmetic":
            assert _holds(re.sub(r"[qs]\d+ ", "", derived))
        else:
            numbers = _EQUATION.fullmatch(claim).groups()  # type: ignore[union-attr]
            value = derived.split()[-1]
            assert value != (numbers[2] if len(derived.split()) > 2 else numbers[0])


@pytest.mark.parametrize("split", Split)
def test_a_derivation_names_its_sources(split: Split) -> None:
    """`q2 7` means that 7 is the second number of the question."""
    for item in _items(split):
        numbers = re.findall(r"\d+", item.prompt)
        for index, value in re.findall(r"q(\d+) (\d+)", item.reply):
            assert numbers[int(index) - 1] == value


def test_the_reply_covers_each_step_until_the_first_wrong_one() -> None:
    """Reply lines are numbered like the steps, in order, and the reply of a right solution covers all of them."""
    for item in _items(Split.TRAIN, attacked=0.5):
        lines = item.reply.split("\n")
        assert [line.split("]")[0] for line in lines] == [f"[{index}" for index in range(len(lines))]
        assert all(line.endswith("| correct") for line in lines[:-1])
        if item.kind == "none":
            assert len(lines) == len(_lines(item))


def test_about_half_of_the_solutions_are_right() -> None:
    """The corpus does not teach that errors are the rule, nor that they are rare; every kind is planted."""
    items = _items(Split.HELD_OUT)
    assert 0.4 < sum(item.kind == "none" for item in items) / len(items) < 0.6
    assert {item.kind for item in items} == {"none", "arithmetic", "copy", "carry", "final"}


def test_some_solutions_carry_calculator_marks() -> None:
    """A share of the items is written with the `<<3+4=7>>` marks of GSM8K, and quotes what stands inside."""
    marked = [item for item in _items(Split.TRAIN) if "<<" in item.completion]
    assert 0.1 < len(marked) / _COUNT < 0.4
    assert all(re.search(r'"\d+[-+*/]\d+=\d+"', item.reply) for item in marked)
