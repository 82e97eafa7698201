"""From marks to tokens: overlap, polarity, silence, votes, and what no tokenizer may change."""

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assayd.annotators.options import TokenOverlap, VoteRule
from assayd.annotators.scoring import TokenValues, combine, offset_values
from assayd.annotators.votes import tally
from assayd.domain.annotation import MarkedSpan, Match, Polarity
from assayd.domain.rollout import Completion
from assayd.domain.text import Alignment, Span

TEXT = "abcdefghijklmnopqrst"


def cut(edges: list[int]) -> Alignment:
    """``TEXT`` cut into tokens at these places."""
    ends = sorted({0, len(TEXT), *edges})
    return Alignment(TEXT, None, tuple(Span(start, end) for start, end in pairwise(ends)))


def mark(start: int, end: int, reward: float) -> MarkedSpan:
    """A span of ``TEXT`` with this reward."""
    polarity = Polarity.POSITIVE if reward > 0 else Polarity.NEGATIVE
    return MarkedSpan(TEXT[start:end], "label", reward, Match.EXACT, Span(start, end), polarity=polarity)


def values(edges, *marks, overlap=TokenOverlap.ANY, unmarked=0.0, **more) -> tuple[float, ...]:
    """The values of the tokens that these edges cut."""
    completion = Completion(cut(edges), **more.pop("completion", {}))
    return offset_values(completion, marks, unmarked=unmarked, overlap=overlap, **more).intrinsic


EDGES = st.lists(st.integers(0, len(TEXT)), max_size=8)
MARKS = st.lists(
    st.builds(
        lambda start, length, reward: mark(start, min(start + length, len(TEXT)), reward),
        st.integers(0, len(TEXT) - 1),
        st.integers(1, 9),
        st.sampled_from([-1.0, -0.5, -0.25, 0.5, 1.0]),
    ),
    max_size=5,
)
IMITATED = st.lists(st.integers(0, 15).map(lambda start: Span(start, start + 4)), max_size=2)


@given(EDGES, EDGES, MARKS, IMITATED)
def test_fractions_do_not_depend_on_the_tokenizer(left, right, marks, imitated):
    """With `fraction`, two tokenizations give every stretch between their common edges the same total."""

    def running(edges: list[int]) -> dict[int, float]:
        spans = cut(edges).token_spans
        given_ = values(edges, *marks, overlap=TokenOverlap.FRACTION, unmarked=0.25, imitated=imitated)
        totals = accumulate(value * len(span) for value, span in zip(given_, spans, strict=True))
        return dict(zip((span.end for span in spans), totals, strict=True))

    one, other = running(left), running(right)
    for edge in one.keys() & other.keys():
        assert one[edge] == pytest.approx(other[edge])


@given(EDGES, MARKS, IMITATED, st.sampled_from(TokenOverlap))
def test_one_value_per_token(edges, marks, imitated, overlap):
    """There are as many values as tokens, and imitated characters earn none of them anything."""
    given_ = values(edges, *marks, overlap=overlap, unmarked=0.5, imitated=imitated)
    spans = cut(edges).token_spans
    assert len(given_) == len(spans)
    for value, span in zip(given_, spans, strict=True):
        if any(other.overlap(span) == len(span) for other in imitated):
            assert value <= 0


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [("any", (-1.0, -1.0, 0.0)), ("majority", (0.0, -1.0, 0.0)), ("fraction", (-0.5, -1.0, 0.0))],
)
def test_token_overlap(overlap, expected):
    """A straddling token takes all, nothing, or its share."""
    assert values([4, 8], mark(2, 8, -1.0), overlap=TokenOverlap(overlap)) == expected


def test_fraction_of_an_unmarked_value():
    """The characters outside of the span keep the unmarked value."""
    assert values([4], mark(2, 4, -1.0), overlap=TokenOverlap.FRACTION, unmarked=0.5) == (-0.25, 0.5)


def test_overlapping_spans():
    """Spans of one polarity unite, the stronger wins; the two polarities add up."""
    marks = (mark(0, 8, -0.5), mark(4, 12, -1.0), mark(4, 20, 0.25))
    assert values([4, 8, 12], *marks) == (-0.5, -0.75, -0.75, 0.25)
    assert values([4, 8, 12], *reversed(marks)) == (-0.5, -0.75, -0.75, 0.25)


def test_silent_tokens():
    """Special and masked-out tokens have no intrinsic reward, marked or not."""
    more = {"special": frozenset({2}), "mask": (True, False, True)}
    assert values([4, 8], mark(0, 20, -1.0), unmarked=0.5, completion=more) == (-1.0, 0.0, 0.0)


def test_combination():
    """Both weights apply, and the extrinsic reward goes to one token."""
    assert combine((0.5, -1.0), extrinsic=3.0, last=0, alpha_int=2.0, alpha_ext=0.5) == (2.5, -2.0)
    assert combine((0.5, -1.0), extrinsic=None, last=1, alpha_int=1.0, alpha_ext=1.0) == (0.5, -1.0)


VOTES = (
    TokenValues((-1.0, -1.0, -0.5, 0.25), (True, True, True, False)),
    TokenValues((-0.5, 0.25, -0.5, 0.25), (True, False, True, False)),
    TokenValues((-0.5, -0.5, 0.25, 0.25), (True, True, False, False)),
)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("majority", (-2 / 3, -0.75, -0.5, 0.25)),
        ("intersection", (-2 / 3, 0.25, 0.25, 0.25)),
        ("mean", (-2 / 3, -1.25 / 3, -0.25, 0.25)),
    ],
)
def test_votes(rule, expected):
    """Majority and intersection ask who marked a token; the mean asks everyone."""
    assert tally(VOTES, (0.25,) * 4, VoteRule(rule)) == pytest.approx(expected)


def test_half_is_no_majority():
    """One of two critiques is not more than half of them."""
    assert tally(VOTES[:2], (0.25,) * 4, VoteRule.MAJORITY) == (-0.75, 0.25, -0.5, 0.25)
