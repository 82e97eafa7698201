"""Sums of numbers seen once, against numbers that are all held."""

import math
from statistics import correlation, quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assayd.offline.sketch import Correlation, Sketch

NUMBERS = st.lists(st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-6), min_size=2)


def sketched(values: list[float]) -> Sketch:
    """All of them, one by one."""
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


@given(NUMBERS, st.floats(0, 1))
def test_a_quantile_of_few_numbers_is_exact(values: list[float], share: float) -> None:
    """The number that stands at that place in the sorted list."""
    assert sketched(values).quantile(share) == sorted(values)[int(share * (len(values) - 1))]


@given(NUMBERS, st.floats(0, 1), st.floats(1e-3, 1e3))
def test_a_quantile_of_many_numbers_is_right_to_one_percent(
    values: list[float], share: float, scale: float
) -> None:
    """In bounded memory: more different numbers than are held, among them those of before."""
    values = [*values, *(sign * scale * 1.01**step for step in range(600) for sign in (-1, 1))]
    exact = sorted(values)[int(share * (len(values) - 1))]
    sketch = sketched(values)
    assert sketch.quantile(share) == pytest.approx(exact, rel=0.0101)
    assert len(sketch.buckets()) < len(set(values))


@given(NUMBERS)
def test_counts_and_the_sum_are_exact(values: list[float]) -> None:
    """Every number is in one bar; the sum is that of ``fsum``."""
    sketch = sketched(values)
    assert sum(count for _, _, count in sketch.histogram(7)) == len(values)
    assert sketch.sum == pytest.approx(math.fsum(values), rel=1e-12, abs=1e-9)
    assert (sketch.low, sketch.high) == (min(values), max(values))


def test_known_quantiles() -> None:
    """Of 1 to 1000, mirrored."""
    values = [float(sign * number) for number in range(1, 1001) for sign in (-1, 1)]
    first, middle, third = quantiles(values, n=4)
    told = sketched(values)
    assert told.quantile(0.25) == pytest.approx(first, rel=0.02)
    assert told.quantile(0.75) == pytest.approx(third, rel=0.02)
    assert abs(middle) < 1
    assert abs(told.quantile(0.5) or 0) <= 1.01
    assert told.summary()["negative_share"] == 0.5


def test_rewards_of_a_few_sizes_keep_them() -> None:
    """Minus a half is not minus 0.5015, however often it comes."""
    told = sketched([-0.5] * 5000 + [0.0] * 4000 + [1.0] * 1000)
    assert (told.quantile(0.25), told.quantile(0.75), told.quantile(0.95)) == (-0.5, 0.0, 1.0)
    assert told.histogram(3) == [(-0.5, 0.0, 5000), (0.0, 0.5, 4000), (0.5, 1.0, 1000)]


def test_nothing_gives_nothing() -> None:
    """No mean of no numbers, and no division."""
    assert Sketch().summary() == {"count": 0}
    assert Sketch().mean is None
    assert Sketch().histogram(5) == []
    assert Correlation().value is None


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(-50, 50)), min_size=2))
def test_the_correlation_is_pearsons(pairs: list[tuple[int, int]]) -> None:
    """As the standard library finds it; None where one side does not vary."""
    seen = Correlation()
    for x, y in pairs:
        seen.add(x, y)
    xs, ys = zip(*pairs, strict=True)
    if len(set(xs)) == 1 or len(set(ys)) == 1:
        assert seen.value is None or math.isfinite(seen.value)
    else:
        assert seen.value == pytest.approx(correlation(xs, ys), abs=1e-6)
