"""Facts about spans, segments and the alignment between them."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assayd.domain.text import Alignment, Segment, Span, Unaligned


def align(text: str, *offsets: tuple[int, int]) -> Alignment:
    """Tokens with these offsets, unchecked for gaps."""
    return Alignment(text, None, tuple(Span(*offset) for offset in offsets))


@st.composite
def alignments(draw: st.DrawFn) -> Alignment:
    """Tokens that follow each other, share a character, leave a gap, or hold nothing."""
    spans: list[Span] = []
    reached = 0
    for step in draw(st.lists(st.sampled_from(["next", "share", "gap", "empty"]), max_size=12)):
        shared = step == "share" and bool(spans) and len(spans[-1]) > 0
        start = reached - shared + (draw(st.integers(1, 2)) if step == "gap" else 0)
        length = 0 if step == "empty" else draw(st.integers(1, 3))
        spans.append(Span(start, start + length))
        reached = start + length
    return Alignment("x" * (reached + draw(st.integers(0, 2))), None, tuple(spans))


def holders(alignment: Alignment, character: int) -> list[int]:
    """The definition, by brute force: the owners of a character, or who a gap belongs to."""
    owners = [index for index, span in enumerate(alignment.token_spans) if span.start <= character < span.end]
    solid = [index for index, span in enumerate(alignment.token_spans) if span]
    following = [index for index in solid if alignment.token_spans[index].start > character]
    return owners or following[:1] or solid[-1:]


def spans_of(alignment: Alignment) -> st.SearchStrategy[Span]:
    """Any span of the text, empty ones included."""
    edges = st.integers(0, len(alignment.text))
    return st.tuples(edges, edges).map(lambda pair: Span(min(pair), max(pair)))


@given(st.data())
def test_segment_is_from_the_first_to_the_last_holder(data: st.DataObject) -> None:
    """A span's segment runs exactly from the first to the last token that holds one of its characters."""
    alignment = data.draw(alignments())
    span = data.draw(spans_of(alignment))
    segment = alignment.segment_of(span)
    expected = [token for character in range(span.start, span.end) for token in holders(alignment, character)]
    if expected:
        assert segment == Segment(min(expected), max(expected) + 1)
    else:
        assert len(segment) == 0


@given(st.data())
def test_there_and_back_keeps_every_token_with_text(data: st.DataObject) -> None:
    """The segment of a segment's characters holds all of its tokens that are not empty."""
    alignment = data.draw(alignments())
    edges = st.integers(0, len(alignment))
    start, end = sorted(data.draw(st.tuples(edges, edges)))
    span = alignment.span_of(Segment(start, end))
    back = alignment.segment_of(span)
    solid = [index for index in range(start, end) if alignment.token_spans[index]]
    assert all(back.start <= index < back.end for index in solid)
    assert bool(span) == bool(solid)


@given(alignments())
def test_neighbouring_spans_make_neighbouring_segments(alignment: Alignment) -> None:
    """Reading character by character, segments never go backwards nor leave out a token with text."""
    segments = [alignment.segment_of(Span(at, at + 1)) for at in range(len(alignment.text))]
    assert all(left.start <= right.start and left.end <= right.end for left, right in pairwise(segments))
    held = {index for segment in segments for index in range(segment.start, segment.end)}
    assert held >= {index for index, span in enumerate(alignment.token_spans) if span}


def test_u1_the_span_after_an_emoji() -> None:
    """U1: in "Ok 👍 bad" the word "bad" is code points [5, 8), however the emoji is cut."""
    alignment = align("Ok 👍 bad", (0, 2), (2, 4), (3, 4), (4, 8))
    assert "Ok 👍 bad".index("bad") == 5
    assert alignment.segment_of(Span(5, 8)) == Segment(3, 4)
    assert alignment.segment_of(Span(3, 4)) == Segment(1, 3)


def test_a_gap_belongs_to_the_token_after_it() -> None:
    """Dropped whitespace goes with the next token, and at the end of the text with the last one."""
    alignment = align("  a  b ", (2, 3), (5, 6))
    segments = [alignment.segment_of(Span(at, at + 1)) for at in range(7)]
    assert segments == [Segment(0, 1)] * 3 + [Segment(1, 2)] * 4


def test_a_special_token_may_stand_inside_a_character() -> None:
    """A marker between two pieces of one emoji is empty, and a segment runs across it."""
    alignment = align("☕!", (0, 1), (0, 0), (0, 1), (1, 2))
    assert alignment.segment_of(Span(0, 1)) == Segment(0, 3)
    assert alignment.span_of(Segment(1, 2)) == Span(0, 0)
    assert alignment.span_of(Segment(1, 4)) == Span(0, 2)


def test_no_tokens_no_segment() -> None:
    """An empty completion, and one of markers only, have empty segments everywhere."""
    assert align("").segment_of(Span(0, 0)) == Segment(0, 0)
    assert align("").span_of(Segment(0, 0)) == Span(0, 0)
    assert align("  ", (0, 0), (2, 2)).segment_of(Span(0, 2)) == Segment(0, 0)


def test_ranges_beyond_the_completion_are_refused() -> None:
    """Neither a span nor a segment may reach beyond the end."""
    alignment = align("ab", (0, 2))
    with pytest.raises(ValueError, match="beyond a text of 2"):
        alignment.segment_of(Span(0, 3))
    with pytest.raises(ValueError, match="beyond 1 tokens"):
        alignment.span_of(Segment(0, 2))


@pytest.mark.parametrize(
    ("text", "offsets", "message"),
    [
        ("abcd", [(0, 2), (1, 1), (0, 4)], "backwards between tokens 1 and 2"),
        ("abcd", [(0, 4), (1, 3)], "backwards between tokens 0 and 1"),
        ("abcd", [(0, 2), (2, 5)], "token 1 ends at character 5 of a text of 4 .*code points"),
        ("abcd", [(0, 2), (3, 2)], r"token 1 has offsets \[3, 2\)"),
        ("abcd", [(-1, 2), (2, 4)], r"token 0 has offsets \[-1, 2\)"),
        ("ab cd", [(0, 2)], "no token covers character 3, 'c', after the last token"),
        ("ab cd", [(0, 1), (3, 5)], "no token covers character 1, 'b', before token 1"),
        ("ab", [], "no token covers character 0, 'a'"),
        ("a\ud83d", [(0, 2)], r"character 1 of the text is the lone surrogate U\+D83D"),
    ],
)
def test_offsets_that_contradict_the_text_are_refused(
    text: str, offsets: Sequence[tuple[int, int]], message: str
) -> None:
    """Offsets that go backwards, reach too far or skip ink are refused, and the message names the place."""
    with pytest.raises(Unaligned, match=message):
        Alignment.from_offsets(text, offsets)


def test_ids_and_offsets_must_be_as_many() -> None:
    """One id for each pair of offsets."""
    with pytest.raises(Unaligned, match="1 token ids but 2 offsets"):
        Alignment.from_offsets("ab", [(0, 1), (1, 2)], [7])


def test_offsets_may_skip_what_has_no_ink() -> None:
    """Whitespace, joiners and combining marks may be left out, because tokenizers drop them."""
    alignment = Alignment.from_offsets(" cafe\u0301\u200d \n ok\t", [(1, 5), (10, 12)])
    assert alignment.token_spans == (Span(1, 5), Span(10, 12))


def test_zero_zero_is_a_token_without_text_wherever_it_stands() -> None:
    """Hugging Face's (0, 0) for special tokens is taken for an empty token at its place."""
    alignment = Alignment.from_offsets("☕ok", [(0, 0), (0, 1), (0, 0), (0, 1), (1, 3), (0, 0)], range(6))
    assert alignment.token_spans == (Span(0, 0), Span(0, 1), Span(0, 0), Span(0, 1), Span(1, 3), Span(3, 3))
    assert alignment.token_ids == (0, 1, 2, 3, 4, 5)
