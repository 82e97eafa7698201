"""From segment rewards to token rewards."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assayd.annotators.interpolation import Interpolation, clamped, interpolate
from assayd.domain.rollout import Completion
from assayd.domain.text import Alignment, Segment, Span


def tokens(count: int, mask: tuple[bool, ...] | None = None) -> Completion:
    """A completion of so many tokens."""
    spans = tuple(Span(index, index + 1) for index in range(count))
    return Completion(Alignment("x" * count, None, spans), mask=mask)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (Interpolation.LAST, [0, 1, 0, 0, -0.6, 0]),
        (Interpolation.REPEAT, [1, 1, -0.6, -0.6, -0.6, 0]),
        (Interpolation.EVEN, [0.5, 0.5, -0.2, -0.2, -0.2, 0]),
    ],
)
def test_the_three_ways_to_spread(how: Interpolation, expected: list[float]) -> None:
    """S3: two segments of six tokens, the last one an end marker."""
    segments = [Segment(0, 2), Segment(2, 5)]
    assert interpolate(tokens(6), segments, [1, -0.6], how) == pytest.approx(expected)


@given(
    st.lists(st.tuples(st.integers(1, 6), st.floats(-1e3, 1e3)), max_size=8),
    st.data(),
)
def test_even_conserves_the_sum_of_every_segment(
    pieces: list[tuple[int, float]], data: st.DataObject
) -> None:
    """Also where some tokens of a segment are not the policy's: the others have all of it."""
    count = sum(length for length, _ in pieces)
    mask = data.draw(st.none() | st.tuples(*[st.booleans()] * count))
    segments, start = [], 0
    for length, _ in pieces:
        segments.append(Segment(start, start + length))
        start += length
    owned = mask or (True,) * count
    kept = [
        (part, value)
        for part, (_, value) in zip(segments, pieces, strict=True)
        if any(owned[part.start : part.end])
    ]
    spread = interpolate(
        tokens(count, mask), [part for part, _ in kept], [value for _, value in kept], Interpolation.EVEN
    )
    for part, value in kept:
        assert math.fsum(spread[part.start : part.end]) == pytest.approx(value, abs=1e-9)
    assert all(value == 0 for value, own in zip(spread, owned, strict=True) if not own)


def test_the_clamp_bounds_single_tokens() -> None:
    """After the split, as in the released code; None leaves all as they are."""
    assert clamped([-11, 0.5, 12], (-10, 10)) == [-10, 0.5, 10]
    assert clamped([-11, 12], None) == [-11, 12]
