"""What an adapter does about rollouts that could not be judged: the same in every trainer.

A failed rollout is never a 0.0. The user declares what happens instead, and sees once per training step how many there
were and why.
"""

import logging
import threading
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, Literal, TypeVar

from .calls import Asked
from .configuration import DEFAULT_TIMEOUT_S, positive
from .errors import RolloutFailed
from .wire import Failed

OnFailure = Literal["skip", "scalar", "raise"]
S = TypeVar("S")

ON_FAILURE: Final[tuple[OnFailure, ...]] = ("skip", "scalar", "raise")
_NEVER_PASSES: Final = frozenset({"unauthenticated", "invalid"})

log = logging.getLogger("assay")


class FailurePolicy:
    """What becomes of failed rollouts, and how long a step may wait. Safe to use from many threads.

    ``skip`` masks them out: they have no reward and no gradient. ``scalar`` keeps the trainer's own reward of the whole
    completion and leaves out the dense part; where the trainer has none it skips. ``raise`` ends the training.
    ``timeout_s`` bounds each call, retries included: pass ``asked`` on to the client, so that a service that stalls,
    refuses, or is away makes failures and never hangs or ends a step.

    Set-up mistakes do not hide among failures: as long as nothing was ever judged, a call in which every rollout fails
    for a reason that does not pass (``invalid``, ``unauthenticated``) raises.
    """

    def __init__(self, on_failure: OnFailure = "skip", *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        if on_failure not in ON_FAILURE:
            raise ValueError(f"on_failure is {on_failure!r}: one of {', '.join(ON_FAILURE)}")
        self.on_failure = on_failure
        self.timeout_s = positive(timeout_s)
        self.totals: Counter[str] = Counter()
        """Failures by kind since the start."""
        self.judged = 0
        """Rollouts with a result since the start."""
        self._lock = threading.Lock()
        self._step: int | None = None
        self._kinds: Counter[str] = Counter()
        self._rollouts = 0
        self._example = ""

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(
            type(self), self.on_failure, timeout_s=self.timeout_s
        ), ()  # counts stay in their process

    @property
    def asked(self) -> Asked:
        """What a call says to keep to this policy: ``client.score_segment(rollouts, **policy.asked)``."""
        return {"timeout_s": self.timeout_s, "on_refusal": "fail"}

    def settle(
        self,
        results: Sequence[S | Failed],
        *,
        scalars: Sequence[float | None] | None = None,
        step: int | None = None,
    ) -> tuple[S | float | None, ...]:
        """Each rollout in order: its result; its own scalar, to be used alone; or None, to be masked out.

        ``scalars`` are the trainer's own rewards, one per rollout. Without ``step`` the call is a step of its own and
        is reported at once; with it, failures are gathered and reported when the next step begins, or by ``report``.
        Raises ``RolloutFailed`` by policy ``raise``, and for a mistake in the set-up.
        """
        failed = [result for result in results if isinstance(result, Failed)]
        with self._lock:
            self._count(results, failed, step)
            never = self.judged == 0
        if failed and (self.on_failure == "raise" or (never and _hopeless(results))):
            first = failed[0]
            raise RolloutFailed(first.id, first.kind, first.detail, first)
        own = [None] * len(results) if scalars is None or self.on_failure == "skip" else scalars
        return tuple(
            scalar if isinstance(result, Failed) else result
            for result, scalar in zip(results, own, strict=True)
        )

    def report(self) -> dict[str, int]:
        """Log the failures of the step under way, if there were any, and begin another; gives them by kind."""
        with self._lock:
            return self._report()

    def _count(self, results: Sequence[S | Failed], failed: Sequence[Failed], step: int | None) -> None:
        if step is None or step != self._step:
            self._report()
            self._step = step
        self._rollouts += len(results)
        self.judged += len(results) - len(failed)
        for failure in failed:
            self._example = self._example or f"{failure.id}: {failure.detail}"
            self._kinds[failure.kind] += 1
            self.totals[failure.kind] += 1
        if step is None:
            self._report()

    def _report(self) -> dict[str, int]:
        kinds = dict(self._kinds.most_common())
        if kinds:
            log.warning(
                "%d of %d rollouts%s were not judged and %s (%s); the first one, %s",
                sum(kinds.values()),
                self._rollouts,
                "" if self._step is None else f" of step {self._step}",
                {
                    "skip": "are masked out",
                    "scalar": "keep their own reward alone, or are masked out",
                    "raise": "end the training",
                }[self.on_failure],
                ", ".join(f"{kind}: {count}" for kind, count in kinds.items()),
                self._example,
            )
        self._kinds, self._rollouts, self._example = Counter(), 0, ""
        return kinds


def _hopeless(results: Sequence[object]) -> bool:
    return all(isinstance(result, Failed) and result.kind in _NEVER_PASSES for result in results)
