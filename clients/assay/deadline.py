"""The point in time that nothing of a call outlives."""

import time
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point of the monotonic clock; ``timeout_s`` is how far away it was."""

    at_s: float
    timeout_s: float

    @classmethod
    def after(cls, timeout_s: float) -> Self:
        """``timeout_s`` from now."""
        return cls(time.monotonic() + timeout_s, timeout_s)

    @property
    def remaining_s(self) -> float:
        """Seconds left, 0.0 once it has passed."""
        return max(self.at_s - time.monotonic(), 0.0)
