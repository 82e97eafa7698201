"""Who may come in, and with how much at once.

A permit is a value: the pipeline judges nothing without one.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .domain.failure import FailureKind, Rejected
from .telemetry import Telemetry

_LONGEST_RETRY_AFTER_S = 60.0
_WEIGHT_OF_NEWEST = 0.2


@dataclass(frozen=True, slots=True)
class Permit:
    """Proof that ``rollouts`` may be judged."""

    rollouts: int


class Admission:
    """Bounds the rollouts under judgement at once."""

    def __init__(self, max_rollouts: int, telemetry: Telemetry) -> None:
        self._max_rollouts = max_rollouts
        self._in_flight = 0
        self._rollouts_per_s: float | None = None
        self._telemetry = telemetry

    @contextmanager
    def admit(self, rollouts: int) -> Iterator[Permit]:
        """Hold a permit for ``rollouts`` while the block runs.

        Raises ``Rejected``: ``invalid`` for a call that can never fit, ``overloaded`` for one that may later.
        """
        if rollouts > self._max_rollouts:
            raise Rejected(
                FailureKind.INVALID,
                f"{rollouts} rollouts in one call, this service takes at most {self._max_rollouts}: split the call",
                pointer="/rollouts",
            )
        if self._in_flight + rollouts > self._max_rollouts:
            raise Rejected(
                FailureKind.OVERLOADED,
                f"{self._in_flight} rollouts are under judgement and {self._max_rollouts} fit: try again later",
                retry_after_s=self._retry_after_s(),
            )
        started = time.monotonic()
        self._change(rollouts)
        try:
            yield Permit(rollouts)
        finally:
            self._change(-rollouts)
            self._learn_rate(rollouts / max(time.monotonic() - started, 1e-6))

    def _change(self, rollouts: int) -> None:
        self._in_flight += rollouts
        self._telemetry.rollouts_in_flight.set(self._in_flight)

    def _learn_rate(self, rollouts_per_s: float) -> None:
        if self._rollouts_per_s is None:
            self._rollouts_per_s = rollouts_per_s
        else:
            self._rollouts_per_s += _WEIGHT_OF_NEWEST * (rollouts_per_s - self._rollouts_per_s)

    def _retry_after_s(self) -> float:
        """The time that what is in flight takes at the rate seen of late."""
        if self._rollouts_per_s is None:
            return 1.0
        return min(max(self._in_flight / self._rollouts_per_s, 1.0), _LONGEST_RETRY_AFTER_S)
