"""Sums up numbers one by one, in bounded memory: moments, quantiles, a correlation, bars."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

_ACCURACY: Final = 0.01
_GROWTH: Final = (1 + _ACCURACY) / (1 - _ACCURACY)
_SMALLEST: Final = 1e-9
_HELD: Final = 1000
QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass
class Sketch:
    """Quantiles of any number of numbers.

    Exact up to a thousand different ones; beyond that right to one percent of their size, from counts of exponentially
    wide buckets (DDSketch, 1908.10693). Then numbers nearer to 0 than 1e-9 count as 0. The mean, the extremes and the
    shares of signs are always exact.
    """

    count: int = 0
    low: float = math.inf
    high: float = -math.inf
    _signs: Counter[int] = field(default_factory=Counter)
    _exact: Counter[float] | None = field(default_factory=Counter)
    _rough: Counter[tuple[int, int]] = field(default_factory=Counter)
    _sum: float = 0.0
    _lost: float = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Count one number, or so many equal ones."""
        self.count += times
        self.low, self.high = min(self.low, value), max(self.high, value)
        self._signs[(value > 0) - (value < 0)] += times
        self._add_up(value * times)
        if self._exact is None:
            self._rough[_bucket(value)] += times
            return
        self._exact[value] += times
        if len(self._exact) > _HELD:
            for held, count in self._exact.items():
                self._rough[_bucket(held)] += count
            self._exact = None

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
        """Numbers, rising, and how often each was seen; beyond a thousand, one for each bucket."""
        if self._exact is not None:
            return sorted(self._exact.items())
        return sorted((_middle(bucket), count) for bucket, count in self._rough.items())

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
        return {
            "count": self.count,
            "mean": self.mean,
            "min": self.low,
            "max": self.high,
            "quantiles": {f"{share:g}": self.quantile(share) for share in quantiles},
            "negative_share": self._signs[-1] / self.count,
            "zero_share": self._signs[0] / self.count,
            "positive_share": self._signs[1] / self.count,
        }

    def _add_up(self, value: float) -> None:
        """Neumaier's sum: the order of a million small numbers does not show."""
        total = self._sum + value
        if abs(self._sum) >= abs(value):
            self._lost += (self._sum - total) + value
        else:
            self._lost += (value - total) + self._sum
        self._sum = total


def _bucket(value: float) -> tuple[int, int]:
    """Sign and exponent."""
    if abs(value) < _SMALLEST:
        return 0, 0
    return (1 if value > 0 else -1), math.ceil(math.log(abs(value), _GROWTH))


def _middle(bucket: tuple[int, int]) -> float:
    """The number that is wrong by the same share at both ends of a bucket."""
    sign, exponent = bucket
    return float(sign * 2 / (1 + _GROWTH) * _GROWTH**exponent)


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
