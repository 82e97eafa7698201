"""Sums up numbers one by one, in bounded memory: moments, quantiles, a correlation, bars."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

_ACCURACY: Final = 0.01
_GROWTH: Final = (1 + _ACCURACY) / (1 - _ACCURACY)
_SMALLEST: Final = 1e-9
QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass
class Sketch:
    """Quantiles to one percent of their size, from counts of exponentially wide buckets (DDSketch, 1908.10693).

    Numbers nearer to 0 than 1e-9 count as 0. Mean, extremes and shares of signs are exact.
    """

    count: int = 0
    zeros: int = 0
    low: float = math.inf
    high: float = -math.inf
    _positive: Counter[int] = field(default_factory=Counter)
    _negative: Counter[int] = field(default_factory=Counter)
    _sum: float = 0.0
    _lost: float = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Count one number, or so many equal ones."""
        self.count += times
        self.low, self.high = min(self.low, value), max(self.high, value)
        self._add_up(value * times)
        if abs(value) < _SMALLEST:
            self.zeros += times
        else:
            bucket = math.ceil(math.log(abs(value), _GROWTH))
            (self._positive if value > 0 else self._negative)[bucket] += times

    @property
    def sum(self) -> float:
        """Of all numbers."""
        return self._sum + self._lost

    @property
    def mean(self) -> float | None:
        """None of no numbers."""
        return self.sum / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """The number below which ``share`` of them lie."""
        rank, seen = share * (self.count - 1), 0
        for value, count in self.buckets():
            seen += count
            if seen > rank:
                return min(max(value, self.low), self.high)
        return None

    def buckets(self) -> list[tuple[float, int]]:
        """A number for each bucket, rising, and how many fell into it."""
        middle = 2 / (1 + _GROWTH)
        below = [
            (-middle * _GROWTH**key, self._negative[key]) for key in sorted(self._negative, reverse=True)
        ]
        above = [(middle * _GROWTH**key, self._positive[key]) for key in sorted(self._positive)]
        return [*below, *([(0.0, self.zeros)] if self.zeros else []), *above]

    def histogram(self, bars: int) -> list[tuple[float, float, int]]:
        """Bars of one width from the lowest number to the highest: ``[low, high)`` and how many."""
        if not self.count:
            return []
        width = (self.high - self.low) / bars
        if width == 0:
            return [(self.low, self.high, self.count)]
        counts = [0] * bars
        for value, count in self.buckets():
            place = int((min(max(value, self.low), self.high) - self.low) / width)
            counts[min(place, bars - 1)] += count
        return [
            (self.low + bar * width, self.low + (bar + 1) * width, count) for bar, count in enumerate(counts)
        ]

    def summary(self, quantiles: Sequence[float] = QUANTILES) -> dict[str, object]:
        """As plain values."""
        if not self.count:
            return {"count": 0}
        shares = (sum(part.values()) / self.count for part in (self._negative, self._positive))
        return {
            "count": self.count,
            "mean": self.mean,
            "min": self.low,
            "max": self.high,
            "quantiles": {f"{share:g}": self.quantile(share) for share in quantiles},
            **dict(zip(("negative_share", "positive_share"), shares, strict=True)),
            "zero_share": self.zeros / self.count,
        }

    def _add_up(self, value: float) -> None:
        """Neumaier's sum: the order of a million small numbers does not show."""
        total = self._sum + value
        if abs(self._sum) >= abs(value):
            self._lost += (self._sum - total) + value
        else:
            self._lost += (value - total) + self._sum
        self._sum = total


@dataclass
class Correlation:
    """Pearson's, of pairs seen one by one (Welford)."""

    count: int = 0
    _mean_x: float = 0.0
    _mean_y: float = 0.0
    _xx: float = 0.0
    _yy: float = 0.0
    _xy: float = 0.0

    def add(self, x: float, y: float) -> None:
        """Count one pair."""
        self.count += 1
        from_x, from_y = x - self._mean_x, y - self._mean_y
        self._mean_x += from_x / self.count
        self._mean_y += from_y / self.count
        self._xx += from_x * (x - self._mean_x)
        self._yy += from_y * (y - self._mean_y)
        self._xy += from_x * (y - self._mean_y)

    @property
    def value(self) -> float | None:
        """None where one side does not vary."""
        spread = math.sqrt(self._xx * self._yy)
        return self._xy / spread if spread > 0 else None
