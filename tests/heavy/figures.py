"""Figures that a show prints, and the promises that it holds them to."""

import statistics
from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a share does not exceed; 0 of none."""
    if len(values) < 2:
        return max(values, default=0.0)
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]


class Promises:
    """What was promised and what came of it."""

    def __init__(self) -> None:
        self._broken = 0

    def check(self, what: str, *, kept: bool, told: object) -> None:
        """Print a promise and whether it was kept."""
        self._broken += not kept
        print(f"{'kept  ' if kept else 'BROKEN'}  {what}: {told}")

    def leave(self) -> None:
        """End the script, with 1 where one was broken."""
        raise SystemExit(self._broken > 0)
