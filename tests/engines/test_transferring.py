"""Values go from tokens to other tokens over the characters that both stand for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assayd.domain.text import Alignment, Span
from assayd.engines.transferring import averaged, highest, last_tokens, split

TEXT = "abcdefghij"


def cells(*ends: int, text: str = TEXT) -> Alignment:
    """Tokens that follow each other without a gap, by their ends; one that ends where it begins is empty."""
    starts = (0, *ends[:-1])
    return Alignment(text, None, tuple(Span(start, end) for start, end in zip(starts, ends, strict=True)))


@st.composite
def partitions(draw: st.DrawFn) -> Alignment:
    """Any way to cut the text, empty tokens included."""
    ends = sorted(draw(st.lists(st.integers(0, len(TEXT)), max_size=8)))
    return cells(*ends, len(TEXT))


def test_the_worked_case_keeps_its_sum() -> None:
    """X1: cells (0,6,-1), (6,10,.5) over (0,3), (3,8), (8,10)."""
    assert split([-1, 0.5], cells(6, 10), cells(3, 8, 10)) == pytest.approx([-0.5, -0.25, 0.25])


def test_the_worked_case_by_its_mean() -> None:
    """X1 again, for values that are of each token and do not add up."""
    assert averaged([-1, 0.5], cells(6, 10), cells(3, 8, 10)) == pytest.approx([-1, -0.4, 0.5])


@given(source=partitions(), target=partitions(), data=st.data())
def test_a_mean_lies_between(source: Alignment, target: Alignment, data: st.DataObject) -> None:
    """No token gets more than the highest or less than the lowest value; the same tokens keep theirs."""
    values = data.draw(st.lists(st.floats(-9, 9), min_size=len(source), max_size=len(source)))
    found = averaged(values, source, target)
    assert all(min(values) - 1e-9 <= value <= max(values) + 1e-9 for value in found)
    own = zip(averaged(values, source, source), values, source.token_spans, strict=True)
    assert all(mean == pytest.approx(value) for mean, value, span in own if span)


@given(source=partitions(), target=partitions(), data=st.data())
def test_the_sum_is_kept(source: Alignment, target: Alignment, data: st.DataObject) -> None:
    """Whatever the two ways to cut are."""
    values = data.draw(st.lists(st.floats(-9, 9), min_size=len(source), max_size=len(source)))
    assert sum(split(values, source, target)) == pytest.approx(sum(values), abs=1e-9)


@given(cut=partitions())
def test_the_same_tokens_keep_their_places(cut: Alignment) -> None:
    """Brought to the very same tokens, every token that has characters stays where it is."""
    places = last_tokens(cut, cut)
    assert [place for place, span in zip(places, cut.token_spans, strict=True) if span] == [
        index for index, span in enumerate(cut.token_spans) if span
    ]


def test_an_end_snaps_to_the_token_that_holds_its_last_character() -> None:
    """Ends 2, 6, 10 over cells that end at 3, 8, 10."""
    assert last_tokens(cells(2, 6, 10), cells(3, 8, 10)) == [0, 1, 2]


def test_a_token_without_characters_takes_the_place_before() -> None:
    """At the very start that is the place before the text."""
    assert last_tokens(cells(0, 4, 4, 10), cells(3, 8, 10)) == [-1, 1, 1, 2]


def test_a_split_character_is_complete_with_its_last_token() -> None:
    """Two tokens hold one emoji: places go to the second, shares to both, the highest counts for the first."""
    whole = Alignment("☕!", None, (Span(0, 1), Span(1, 2)))
    halves = Alignment("☕!", None, (Span(0, 1), Span(0, 1), Span(1, 2)))
    assert last_tokens(whole, halves) == [1, 2]
    assert split([1.0, 2.0], whole, halves) == [0.5, 0.5, 2.0]
    assert split([1.0, 2.0, 4.0], halves, whole) == [3.0, 4.0]
    assert averaged([1.0, 2.0], whole, halves) == [1.0, 1.0, 2.0]
    assert averaged([1.0, 2.0, 4.0], halves, whole) == [1.5, 4.0]
    assert highest([1.0, 2.0], whole, halves) == [1.0, 0.0, 2.0]
    assert highest([1.0, 2.0, 4.0], halves, whole) == [2.0, 4.0]


def test_the_highest_of_the_tokens_that_end_inside_counts() -> None:
    """Tokens of the model that end in one policy token share it; where none ends there is 0."""
    assert highest([1.0, 3.0, 2.0, 5.0], cells(1, 2, 3, 10), cells(3, 8, 10)) == [3.0, 0.0, 5.0]


def test_what_no_token_covers_belongs_to_the_next() -> None:
    """A space that the target dropped counts for the word behind it, and at the end for the last word."""
    source = Alignment("a b ", None, (Span(0, 1), Span(1, 2), Span(2, 3), Span(3, 4)))
    target = Alignment("a b ", None, (Span(0, 1), Span(2, 3)))
    assert last_tokens(source, target) == [0, 1, 1, 1]
    assert split([1.0, 2.0, 4.0, 8.0], source, target) == [1.0, 14.0]
