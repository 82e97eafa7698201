"""How far apart the answers of two engines may be, and are."""

from typing import Any, Final

import pytest

TOLERANCE: Final = 1e-4
"""Largest difference between two engines' numbers: raw rewards of some units, probabilities, entropies in nats.

All compute in float32, but add up in another order: vLLM's attention goes block by block, its layers are fused, and
what is batched together decides the shapes. Largest difference seen: 3e-5 (nats).
"""
OURS_ALONE: Final = frozenset({"provenance", "recipe"})
"""What names the engine, or tells how long it took."""


class Differences:
    """Compares answers, and remembers how far apart their numbers were."""

    def __init__(self) -> None:
        self.largest = 0.0

    def refuse(self, one: Any, other: Any, at: str = "") -> None:
        """Fail unless both are the same: texts and whole numbers exactly, others within ``TOLERANCE``."""
        if isinstance(one, dict) and isinstance(other, dict):
            assert one.keys() == other.keys(), f"{at}: {one} and {other}"
            for key in one.keys() - OURS_ALONE:
                self.refuse(one[key], other[key], f"{at}/{key}")
        elif isinstance(one, list) and isinstance(other, list):
            assert len(one) == len(other), at
            for index, (left, right) in enumerate(zip(one, other, strict=True)):
                self.refuse(left, right, f"{at}/{index}")
        elif isinstance(one, float) and isinstance(other, int | float):
            self.largest = max(self.largest, abs(one - other))
            assert one == pytest.approx(other, abs=TOLERANCE, rel=0), f"{at}: {one} and {other}"
        else:
            assert one == other, f"{at}: {one!r} and {other!r}"
