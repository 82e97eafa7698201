"""From segment rewards to token rewards (papers.md 2.4)."""

from collections.abc import Sequence
from enum import StrEnum

from ..domain.rollout import Completion
from ..domain.text import Segment
from .scoring import is_masked


class Interpolation(StrEnum):
    """``even`` parts a segment's reward among its tokens, ``repeat`` gives it to each, ``last`` to the last one."""

    EVEN = "even"
    REPEAT = "repeat"
    LAST = "last"


def interpolate(
    completion: Completion, segments: Sequence[Segment], rewards: Sequence[float], how: Interpolation
) -> list[float]:
    """One reward per token; 0 for tokens outside of all segments, and for those that the policy did not write.

    ``even`` conserves sums: the tokens of a segment have its reward in all.
    """
    tokens = [0.0] * len(completion)
    for segment, reward in zip(segments, rewards, strict=True):
        own = [index for index in range(segment.start, segment.end) if not is_masked(completion, index)]
        paid = own[-1:] if how is Interpolation.LAST else own
        share = reward / len(own) if how is Interpolation.EVEN else reward
        for index in paid:
            tokens[index] = share
    return tokens


def clamped(values: Sequence[float], bounds: tuple[float, float] | None) -> list[float]:
    """Each value within ``bounds``; None leaves all as they are."""
    if bounds is None:
        return list(values)
    low, high = bounds
    return [min(max(value, low), high) for value in values]
