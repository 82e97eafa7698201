"""Advantages, what is kept, and how often it is drawn: facts that hold for any numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assayd.annotators.sequence import Worth, standings
from assayd.annotators.sequence.advantages import Sampling, ValueSource

REWARDS = st.floats(-1e6, 1e6, allow_nan=False)
WORTHS = st.lists(st.none() | st.builds(Worth, REWARDS, REWARDS, st.sampled_from("ab")), max_size=12)
SOURCES = st.sampled_from([ValueSource.HEAD, ValueSource.PROVIDED, ValueSource.GROUP_MEAN])
GOOD = st.sampled_from([Sampling.GOOD_PRIORITY, Sampling.GOOD_RANDOM])


@given(WORTHS, SOURCES, GOOD)
def test_weights_sum_to_one_exactly_where_something_is_kept(
    worths: list[Worth | None], source: ValueSource, sampling: Sampling
) -> None:
    """And are 0 elsewhere, finite always, and above 0 for what is kept alone."""
    made, tally = standings(worths, source, sampling)
    weights = [one.sampling_weight for one in made if one is not None]
    assert all(weight is not None and math.isfinite(weight) for weight in weights)
    total = sum(weight for weight in weights if weight is not None)
    assert total == pytest.approx(1.0 if tally.n_keep else 0.0)
    for one in made:
        if one is not None and one.advantage is not None:
            assert one.keep == (one.advantage > 0)
            assert one.keep or one.sampling_weight == 0


@given(WORTHS, SOURCES, GOOD, st.integers(0, 12))
def test_what_failed_moves_no_number(
    worths: list[Worth | None], source: ValueSource, sampling: Sampling, place: int
) -> None:
    """One more failure in the call, and every other rollout and the tally stay as they are."""
    place = min(place, len(worths))
    made, tally = standings(worths, source, sampling)
    more, same = standings([*worths[:place], None, *worths[place:]], source, sampling)
    assert [*more[:place], *more[place + 1 :]] == made
    assert more[place] is None
    assert same == tally


@given(WORTHS, st.randoms())
def test_the_order_of_the_call_changes_nothing(worths: list[Worth | None], random: object) -> None:
    """Each rollout's standing goes with it, up to the rounding of sums."""
    order = list(range(len(worths)))
    random.shuffle(order)  # type: ignore[attr-defined]
    made, _ = standings(worths, ValueSource.GROUP_MEAN, Sampling.GOOD_PRIORITY)
    other, _ = standings([worths[at] for at in order], ValueSource.GROUP_MEAN, Sampling.GOOD_PRIORITY)
    for at, one in zip(order, other, strict=True):
        known = made[at]
        if one is None or known is None:
            assert one is known
        else:
            assert one.advantage == pytest.approx(known.advantage, abs=1e-6)


@given(st.lists(REWARDS, min_size=2, max_size=12), st.integers(1, 11), GOOD)
def test_calls_weighed_by_the_data_set_are_one_call(
    rewards: list[float], split: int, sampling: Sampling
) -> None:
    """Two halves under the sum of their weight sums have the weights that the whole has in one call."""
    worths = [Worth(reward, 0.0) for reward in rewards]
    whole, tally = standings(worths, ValueSource.HEAD, sampling)
    parts = [worths[:split], worths[split:]]
    total = math.fsum(standings(part, ValueSource.HEAD, sampling)[1].weight_sum or 0.0 for part in parts)
    assert total == pytest.approx(tally.weight_sum)
    halves = [
        one
        for part in parts
        for one in standings(part, ValueSource.HEAD, sampling, dataset_weight_sum=total)[0]
    ]
    for one, other in zip(whole, halves, strict=True):
        assert one is not None
        assert other is not None
        assert other.sampling_weight == pytest.approx(one.sampling_weight)


def test_a_data_set_without_a_good_rollout_weighs_nothing() -> None:
    """A sum of 0 divides nothing."""
    made, tally = standings(
        [Worth(0.2, 0.5)], ValueSource.HEAD, Sampling.GOOD_PRIORITY, dataset_weight_sum=0.0
    )
    assert made[0] is not None
    assert (made[0].sampling_weight, tally.positive_ratio, tally.n_keep) == (0.0, 0.0, 0)


@given(st.floats(-1e6, 1e6, allow_nan=False), st.integers(1, 9))
def test_a_group_that_agrees_keeps_none_of_its_members(reward: float, members: int) -> None:
    """Not even one by a rounding of the mean."""
    made, tally = standings([Worth(reward)] * members, ValueSource.GROUP_MEAN, Sampling.GOOD_PRIORITY)
    assert [one.advantage for one in made if one is not None] == [0.0] * members
    assert tally.n_keep == 0


def test_without_a_value_there_is_no_advantage_and_never_a_zero() -> None:
    """Nothing is compared, so nothing is kept or thrown away."""
    made, tally = standings([Worth(0.9), None], ValueSource.NONE, Sampling.GOOD_PRIORITY)
    assert made[0] is not None
    assert (made[0].advantage, made[0].keep, made[0].sampling_weight) == (None, None, None)
    assert (tally.positive_ratio, tally.n_keep, tally.weight_sum) == (None, None, None)
