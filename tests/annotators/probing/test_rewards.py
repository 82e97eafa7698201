"""Probabilities become rewards: worked case G1, and the bounds that hold for every other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assayd.annotators.probing.rewards import clip

PROBS = [0.95, 0.6, 0.5, 0.47, 0.45, 0.35, 0.02]
RIGHT, WRONG = (0.0, 0.5), (-0.1, 0.0)


@pytest.mark.parametrize(
    ("bounds", "rewards", "low", "high"),
    [
        (WRONG, [0, 0, 0, -0.03, -0.05, -0.1, -0.1], 2, 2),
        (RIGHT, [0.45, 0.1, 0, 0, 0, 0, 0], 4, 0),
    ],
)
def test_g1(bounds, rewards, low, high):
    """G1: what a rewriter would keep costs nothing in a wrong solution, and earns in a right one."""
    found = clip(PROBS, [True] * 7, center=0.5, bounds=bounds)
    assert found.rewards == pytest.approx(rewards, abs=1e-12)
    assert (found.low, found.high) == (low, high)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans())), st.sampled_from([RIGHT, WRONG]))
def test_bounds(tokens, bounds):
    """Rewards lie within the bounds of their branch, and tokens that are not scored have none."""
    probs, scored = [prob for prob, _ in tokens], [counts for _, counts in tokens]
    found = clip(probs, scored, center=0.5, bounds=bounds)
    assert all(bounds[0] <= reward <= bounds[1] for reward in found.rewards)
    assert all(reward == 0 for reward, counts in zip(found.rewards, scored, strict=True) if not counts)
    assert found.low + found.high <= sum(scored)
    assert all(str(reward) != "-0.0" for reward in found.rewards)
