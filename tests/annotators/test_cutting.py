"""Cutting a completion into segments."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assayd.annotators.cutting import BoundaryMode, Cut, EntropyIndex, Segmenter, behind, content_end, cut
from assayd.domain.rollout import Completion
from assayd.domain.text import Alignment, Segment, Span


def completion_of(
    tokens: Sequence[str], *, marked: bool = False, mask: tuple[bool, ...] | None = None
) -> Completion:
    """These tokens, and behind them an end marker if ``marked``."""
    text, spans = "", []
    for token in tokens:
        spans.append(Span(len(text), len(text) + len(token)))
        text += token
    if marked:
        spans.append(Span(len(text), len(text)))
    special = frozenset({len(tokens)}) if marked else frozenset()
    return Completion(Alignment(text, None, tuple(spans)), special, mask)


def ends(entropies: Sequence[float], how: Cut) -> list[int]:
    """The last token of each segment; the last entropy is the end marker's."""
    completion = completion_of(["x"] * (len(entropies) - 1), marked=True)
    return [segment.end - 1 for segment in cut(completion, entropies, how)]


@pytest.mark.parametrize(
    ("entropies", "expected"),
    [
        ([0.2, 1.9, 0.1, 0.3, 2.5, 0.4, 0.2, 1.8, 0.1, 3.0], [1, 4, 7, 8]),
        ([0.0] * 6, [4]),
        ([1.75, 1.75, 0, 0], [2]),
        ([0, 2, 0, 0, 2, 2], [1, 4]),
        ([0, 0, 0, 0, 0, 2], [4]),
        ([0, 2, 0, 0, 0, 0], [1, 4]),
        ([0.0], []),
    ],
)
def test_segments_end_where_the_next_token_was_open(entropies: list[float], expected: list[int]) -> None:
    """S1 and S2: strictly above the cutoff, never on the end marker, and the tail is a segment of its own."""
    assert ends(entropies, Cut(c_ent=1.75)) == expected


def test_a_cutoff_of_zero_and_token_mode_end_everywhere() -> None:
    """S2: token by token, but for the end marker; token mode does not even look at entropies."""
    assert ends([1.0] * 6, Cut(c_ent=0)) == [0, 1, 2, 3, 4]
    assert ends([0.0] * 6, Cut(boundary_mode=BoundaryMode.TOKEN)) == [0, 1, 2, 3, 4]


def test_the_bandit_is_one_segment_with_its_end_marker() -> None:
    """S2: the one mode in which the end marker belongs to a segment."""
    bandit = Cut(boundary_mode=BoundaryMode.BANDIT)
    assert cut(completion_of(["x"] * 5, marked=True), None, bandit) == (Segment(0, 6),)
    assert cut(completion_of(["x"] * 5), None, bandit) == (Segment(0, 5),)


def test_without_an_end_marker_the_last_token_ends_the_last_segment() -> None:
    """A truncated completion, or one whose trainer sends no marker."""
    assert cut(completion_of(["x"] * 4), [0, 2, 0, 0], Cut()) == (Segment(0, 2), Segment(2, 4))


def test_sampled_entropies_are_shifted_by_one() -> None:
    """The index trap of papers.md 2.1: what a token was drawn from is what stood behind the token before it."""
    drawn_from = (0.1, 0.2, 1.9, 0.3)
    assert behind(drawn_from, EntropyIndex.SAMPLED) == (0.2, 1.9, 0.3, 0.0)
    assert behind(drawn_from, EntropyIndex.NEXT) == drawn_from
    assert behind((), EntropyIndex.SAMPLED) == ()


def test_sentences_and_lines_end_with_their_last_token() -> None:
    """A line takes its line break along, a sentence its full stop; blank lines are no steps."""
    tokens = ["One", " two", ".", " Three", "!", "\n", "\n", "Four", "\n"]
    sentences = cut(completion_of(tokens), None, Cut(segmenter=Segmenter.SENTENCE))
    assert sentences == (Segment(0, 3), Segment(3, 5), Segment(5, 8), Segment(8, 9))
    lines = cut(completion_of(tokens), None, Cut(segmenter=Segmenter.STEP))
    assert lines == (Segment(0, 7), Segment(7, 9))


def test_fixed_segments_have_so_many_tokens_and_a_rest() -> None:
    """Seven tokens by three."""
    fixed = Cut(segmenter=Segmenter.FIXED, segment_length=3)
    assert cut(completion_of(["x"] * 7), None, fixed) == (Segment(0, 3), Segment(3, 6), Segment(6, 7))


def test_tokens_that_the_policy_did_not_write_part_segments() -> None:
    """The output of a tool between two turns of the policy is in no segment."""
    mask = (True, True, False, False, True, True, True)
    completion = completion_of(["x"] * 6, marked=True, mask=mask)
    assert cut(completion, [0] * 7, Cut()) == (Segment(0, 2), Segment(4, 6))


def test_padding_behind_the_end_marker_is_no_content() -> None:
    """The first of the trailing special tokens is the end marker."""
    completion = Completion(
        Alignment("ab", None, (Span(0, 1), Span(1, 2), Span(2, 2), Span(2, 2))), frozenset({2, 3})
    )
    assert content_end(completion) == 2
    assert cut(completion, None, Cut(boundary_mode=BoundaryMode.BANDIT)) == (Segment(0, 3),)


def test_equal_ways_to_cut_are_equal_once_settled() -> None:
    """Numbers that have no say do not tell two ways apart; what has a say does."""
    assert Cut(boundary_mode=BoundaryMode.TOKEN, c_ent=3).settled == Cut(boundary_mode=BoundaryMode.TOKEN)
    assert Cut(segmenter=Segmenter.STEP, c_ent=3).settled == Cut(segmenter=Segmenter.STEP)
    assert Cut(c_ent=3, segment_length=9).settled == Cut(c_ent=3)
    assert Cut(c_ent=3).settled != Cut().settled


HOW = st.builds(
    Cut,
    segmenter=st.sampled_from(Segmenter),
    boundary_mode=st.sampled_from(BoundaryMode),
    c_ent=st.sampled_from([0.0, 1.0, 2.0]),
    segment_length=st.integers(1, 5),
)


@given(
    tokens=st.lists(st.sampled_from(["a", " b", ".", "\n", "! ", "…"]), max_size=20),
    how=HOW,
    marked=st.booleans(),
    marker_paid=st.booleans(),
    data=st.data(),
)
def test_segments_cover_every_own_token_once(
    tokens: list[str], how: Cut, marked: bool, marker_paid: bool, data: st.DataObject
) -> None:
    """Whatever the rule: in order, without overlap, whole; the end marker only where it is asked for."""
    count = len(tokens) + marked
    mask = data.draw(st.none() | st.tuples(*[st.booleans()] * count))
    entropies = data.draw(st.lists(st.floats(0, 3), min_size=count, max_size=count))
    completion = completion_of(tokens, marked=marked, mask=mask)
    segments = cut(completion, entropies, how, end_marker=marker_paid)
    covered = [index for segment in segments for index in range(segment.start, segment.end)]
    assert all(segments)
    assert covered == sorted(set(covered))
    end = count if marker_paid or how.boundary_mode is BoundaryMode.BANDIT else len(tokens)
    own = [index for index in range(end) if mask is None or mask[index]]
    if how.boundary_mode is BoundaryMode.BANDIT:
        assert set(own) <= set(covered)
    else:
        assert covered == own
