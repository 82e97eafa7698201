"""From a rewriter's probabilities to token rewards: centred, and clipped by whether the solution is right (G1)."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clipped:
    """Rewards, and how many lay below and above their bounds."""

    rewards: tuple[float, ...]
    low: int
    high: int


def clip(
    probs: Sequence[float], scored: Sequence[bool], *, center: float, bounds: tuple[float, float]
) -> Clipped:
    """``clip(P - center, low, high)`` for every token that is scored, 0 for the others."""
    low, high = bounds
    values = [prob - center for prob in probs]
    counted = [value for value, counts in zip(values, scored, strict=True) if counts]
    rewards = (
        min(max(value, low), high) + 0.0 if counts else 0.0
        for value, counts in zip(values, scored, strict=True)
    )
    return Clipped(
        tuple(rewards), sum(value < low for value in counted), sum(value > high for value in counted)
    )
