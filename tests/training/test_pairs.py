"""Preference pairs: what is planted is marked, the rest is right, and nothing else tells the answers apart."""

import json
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from assay_training.corpora.arithmetic_pairs import arithmetic_pairs
from assay_training.corpora.insults import ADJECTIVES, COMMANDS, NOUNS, THREAT_TARGETS
from assay_training.corpora.items import Split
from assay_training.corpora.pairs import Contest, Pair, mixed, write_pairs
from assay_training.corpora.problems import evaluate
from assay_training.corpora.toxicity_pairs import toxicity_pairs
from assay_training.segment_rm.pairs import read_pairs

Source = Callable[..., Iterator[Pair]]
both_domains = pytest.mark.parametrize("source", [arithmetic_pairs, toxicity_pairs])
both_splits = pytest.mark.parametrize("split", Split)
_EQUATION = re.compile(r"(\d+) ?([-+*/]) ?(\d+) ?= ?(\d+)")


@both_domains
@both_splits
def test_the_rejected_answer_holds_one_error_more(source: Source, split: Split) -> None:
    """None against one, or one against two; what is marked stands in the text."""
    for pair in islice(source(3, split), 300):
        assert len(pair.rejected_errors) == len(pair.chosen_errors) + 1
        assert (not pair.chosen_errors) == (pair.contest is Contest.FIRST)
        for text, errors in ((pair.chosen, pair.chosen_errors), (pair.rejected, pair.rejected_errors)):
            assert all(0 <= error.start < error.end <= len(text) for error in errors)


@both_domains
def test_twins_differ_from_the_first_error_on(source: Source) -> None:
    """Twins of which one errs are the same text up to that error, at most a shared first digit further."""
    twins = (pair for pair in source(4, Split.TRAIN) if pair.twins and pair.contest is Contest.FIRST)
    for pair in islice(twins, 200):
        differ = next(
            (
                at
                for at, (one, other) in enumerate(zip(pair.chosen, pair.rejected, strict=False))
                if one != other
            ),
            min(len(pair.chosen), len(pair.rejected)),
        )
        (error,) = pair.rejected_errors
        if source is arithmetic_pairs:
            assert error.start <= differ <= error.end
        else:
            assert differ <= error.end


def test_a_further_error_stands_behind_the_shared_one() -> None:
    """Where both err, the first error of the rejected twin is the error of the chosen one."""
    pairs = (
        pair for pair in arithmetic_pairs(5, Split.TRAIN) if pair.contest is Contest.FURTHER and pair.twins
    )
    for pair in islice(pairs, 200):
        assert pair.chosen_errors[0] == pair.rejected_errors[0]
        assert pair.chosen[: pair.chosen_errors[0].end] == pair.rejected[: pair.rejected_errors[0].end]
        assert pair.rejected_errors[1].start > pair.rejected_errors[0].end


@both_splits
def test_a_result_is_marked_when_it_does_not_follow(split: Split) -> None:
    """An equation holds exactly where its result is not marked."""
    wrong = 0
    for pair in islice(arithmetic_pairs(6, split), 300):
        for text, errors in ((pair.chosen, pair.chosen_errors), (pair.rejected, pair.rejected_errors)):
            for match in _EQUATION.finditer(text):
                holds = evaluate(match[2], int(match[1]), int(match[3])) == int(match[4])
                marked = any((error.start, error.end) == match.span(4) for error in errors)
                assert holds != marked, text
                wrong += marked
    assert wrong > 50


def test_marked_numbers_are_whole_numbers() -> None:
    """A planted error of a solution is one number, from its first digit to its last."""
    for pair in islice(arithmetic_pairs(7, Split.HELD_OUT), 300):
        for error in pair.rejected_errors:
            assert re.fullmatch(r"\d+", pair.rejected[error.start : error.end])
            assert not re.match(r"\d", pair.rejected[error.end :])


def test_the_chosen_message_is_polite_where_it_has_no_error() -> None:
    """No word of the insults stands in a message without a mark; a marked text is one of them."""
    rude = re.compile(rf"\b({'|'.join(map(re.escape, (*NOUNS, *ADJECTIVES, *COMMANDS)))})\b", re.IGNORECASE)
    for pair in islice(toxicity_pairs(8, Split.HELD_OUT), 300):
        if not pair.chosen_errors:
            assert not rude.search(pair.chosen)
        for error in pair.rejected_errors:
            text = pair.rejected[error.start : error.end]
            assert rude.search(text) or text.endswith(THREAT_TARGETS)


@both_domains
@both_splits
def test_the_length_does_not_tell_the_answer(source: Source, split: Split) -> None:
    """The rejected answer is longer about as often as it is shorter."""
    pairs = list(islice(source(9, split), 1500))
    longer = sum(len(pair.rejected) > len(pair.chosen) for pair in pairs)
    shorter = sum(len(pair.rejected) < len(pair.chosen) for pair in pairs)
    assert 0.45 < longer / (longer + shorter) < 0.55


@both_domains
def test_the_same_seed_gives_the_same_pairs(source: Source) -> None:
    """Pairs are a function of the arguments, and other seeds give others."""
    first, again, other = (list(islice(source(seed, Split.TRAIN), 20)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_pairs_are_written_as_the_training_reads_them(tmp_path: Path) -> None:
    """One object a line with prompt, chosen and rejected, read back as they were."""
    sources = (
        (0.5, arithmetic_pairs(0, Split.TRAIN)),
        (0.5, toxicity_pairs(0, Split.TRAIN)),
    )
    pairs = list(islice(mixed(0, sources), 30))
    assert len({pair.domain for pair in pairs}) == 2
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert set(rows[0]) == {"prompt", "chosen", "rejected"}
    read = read_pairs(tmp_path / "pairs.jsonl")
    assert [(pair.prompt[0].content, pair.chosen, pair.rejected) for pair in read] == [
        (pair.prompt, pair.chosen, pair.rejected) for pair in pairs
    ]


@both_domains
def test_short_pairs_end_with_their_last_error(source: Source) -> None:
    """Of short twins only what holds the last error tells the two apart: nothing is said behind it."""
    pairs = (pair for pair in source(10, Split.TRAIN, short=1.0, twins=1.0) if pair.contest is Contest.FIRST)
    for pair in islice(pairs, 100):
        (error,) = pair.rejected_errors
        if source is arithmetic_pairs:
            assert "\n" not in pair.rejected[error.end :]
            assert pair.chosen.count("\n") == pair.rejected.count("\n")
        else:
            assert len(pair.rejected) - error.end < 80
