"""Means, spreads and correlation of the last so many pairs, each brought up to date in constant time."""

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

_SUMMED_ANEW_EVERY: Final = 16
"""Windows: what sums lose by adding and taking away does not pile up."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Of pairs (x, y): means, standard deviations, and how closely they go together, in [-1, 1]."""

    mean_x: float
    mean_y: float
    std_x: float
    std_y: float
    correlation: float


class SlidingMoments:
    """The moments of the last ``size`` pairs."""

    def __init__(self, size: int) -> None:
        self._pairs: deque[tuple[float, float]] = deque()
        self._size = size
        self._origin = (0.0, 0.0)
        self._sums = [0.0] * 5
        self._until_anew = 0

    def __len__(self) -> int:
        return len(self._pairs)

    def add(self, x: float, y: float) -> tuple[float, float] | None:
        """Take a pair in; gives the one that left for it, if any."""
        gone = self._pairs.popleft() if len(self._pairs) == self._size else None
        self._pairs.append((x, y))
        if self._until_anew == 0:
            self._sum_anew()
            return gone
        self._until_anew -= 1
        self._shift(x, y, 1)
        if gone is not None:
            self._shift(*gone, -1)
        return gone

    def moments(self) -> Moments:
        """As things stand; of at least one pair."""
        n = len(self._pairs)
        x, y, xx, yy, xy = (total / n for total in self._sums)
        var_x, var_y = max(xx - x * x, 0.0), max(yy - y * y, 0.0)
        scale = math.sqrt(var_x * var_y)
        # A spread that is nothing but rounding says nothing about how two things go together.
        known = var_x > _rounding(xx) and var_y > _rounding(yy)
        correlation = min(max((xy - x * y) / scale, -1.0), 1.0) if known else 0.0
        return Moments(
            self._origin[0] + x,
            self._origin[1] + y,
            math.sqrt(var_x) if var_x > _rounding(xx) else 0.0,
            math.sqrt(var_y) if var_y > _rounding(yy) else 0.0,
            correlation,
        )

    def _shift(self, x: float, y: float, sign: int) -> None:
        # Around a point among them: squares of what lies far off would drown the differences.
        x, y = x - self._origin[0], y - self._origin[1]
        for place, term in enumerate((x, y, x * x, y * y, x * y)):
            self._sums[place] += sign * term

    def _sum_anew(self) -> None:
        n = len(self._pairs)
        self._origin = (
            math.fsum(x for x, _ in self._pairs) / n,
            math.fsum(y for _, y in self._pairs) / n,
        )
        self._sums = [0.0] * 5
        for x, y in self._pairs:
            self._shift(x, y, 1)
        self._until_anew = _SUMMED_ANEW_EVERY * n


def _rounding(square: float) -> float:
    return 1e-12 * square
