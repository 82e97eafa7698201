"""Brings the extrinsic rewards of a call to one scale, as RELC does on its preference model (papers.md 1.7, R10).

The service keeps no running state between calls, since two teams share it and a restart must not move rewards: the
caller sends the moments it got with its last call, and gets the updated ones back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .options import Mode


@dataclass(frozen=True, slots=True)
class Moments:
    """Of all extrinsic rewards seen so far; ``variance`` is the sample variance."""

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0


def updated(moments: Moments, rewards: Sequence[float], mode: Mode) -> Moments:
    """``moments`` after ``rewards`` came in, by Welford's method.

    The released code adds to the variance where it means the sum of squares, so from the second batch on its
    variance is too small; ``compat`` does the same.
    """
    count, mean = moments.count, moments.mean
    squares = moments.variance * (max(count - 1, 0) if mode is Mode.STRICT else 1)
    for reward in rewards:
        count += 1
        before = reward - mean
        mean += before / count
        squares += before * (reward - mean)
    return Moments(count, mean, squares / (count - 1) if count > 1 else 0.0)


def normalized(rewards: Sequence[float], moments: Moments) -> tuple[float, ...]:
    """z-scores of ``rewards`` under ``moments``, divided by the largest magnitude among them: in [-1, 1].

    All zeros when the rewards do not differ from the mean; the released code gives up there.
    """
    deviation = moments.variance**0.5
    scores = [(reward - moments.mean) / deviation if deviation else 0.0 for reward in rewards]
    largest = max((abs(score) for score in scores), default=0.0)
    return tuple(score / largest if largest else 0.0 for score in scores)
