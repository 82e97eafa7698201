"""The line in front of one engine: a fair queue, its door, and what there is to tell of both.

The door refuses whoever it knows to be late: by what is in front of a newcomer of this tenant and by the engine's pace
of late, the wait alone is longer than the deadline allows. It refuses too what would make the line longer than it may
be, of those tenants who take up more than their share of it. Work is refused before its first engine or not at all:
what has been let in to one engine is let in to the next.
"""

import time
from collections import defaultdict
from collections.abc import Hashable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from ..domain.caller import Caller, current_caller
from ..domain.failure import AnnotationFailed, FailureKind
from ..domain.ports import Deadline
from .fair_queue import FairQueue
from .pace import Pace

Job = TypeVar("Job", bound=Hashable)

MAX_TOKENS: Final = 4_000_000
"""A thousand for each of as many rollouts as the service takes in at once."""
SOONEST_RETRY_S: Final = 1.0
"""The least that ``Retry-After``, which knows whole seconds only, can say."""

_begun: ContextVar[bool] = ContextVar("begun", default=False)
"""Whether the rollout at hand has been let in to an engine."""


@dataclass(slots=True)
class Served:
    """What has become of one tenant's jobs."""

    taken: int = 0
    waited_s: float = 0.0
    """Of all that were taken, together."""
    refused: int = 0


@dataclass(frozen=True, slots=True)
class _Ticket:
    caller: Caller
    tokens: int
    entered_s: float


@dataclass(slots=True, eq=False)
class Line(Generic[Job]):
    """Those who wait for an engine, and those inside. Who shares it between threads has to lock it."""

    max_tokens: int = MAX_TOKENS
    """The most that may wait, but for tenants who wait with less than their share of it."""
    queue: FairQueue[Job] = field(default_factory=FairQueue)
    served: defaultdict[str, Served] = field(default_factory=lambda: defaultdict(Served))
    """By tenant."""
    inside_tokens: int = 0
    real_tokens: int = 0
    """Of all batches so far."""
    padded_tokens: int = 0
    """The places that they took up."""
    _tickets: dict[Job, _Ticket] = field(default_factory=dict)
    _pace: Pace = field(default_factory=Pace)
    _pressed: bool = False
    _noted_s: float = 0.0

    def enter(self, job: Job, tokens: int, deadline: Deadline) -> None:
        """Let a job of the current caller wait; raises ``AnnotationFailed`` (``overloaded``) where it would in vain."""
        caller = current_caller()
        if not _begun.get():
            try:
                self._admit(caller, tokens, deadline)
            except AnnotationFailed:
                self.served[caller.tenant].refused += 1
                raise
            _begun.set(True)
        self._tickets[job] = _Ticket(caller, tokens, time.monotonic())
        self.queue.push(job, tokens, caller)

    def take(self, job: Job) -> None:
        """Let a job that waits inside."""
        self.queue.take(job)
        ticket = self._tickets[job]
        served = self.served[ticket.caller.tenant]
        served.taken += 1
        served.waited_s += time.monotonic() - ticket.entered_s
        self.inside_tokens += ticket.tokens
        self._note(0)

    def leave(self, job: Job, *, answered: bool = False) -> None:
        """See a job off, wherever it is; safe to call twice."""
        ticket = self._tickets.pop(job, None)
        if ticket is None:
            return
        if job in self.queue:
            self.queue.remove(job)
        else:
            self.inside_tokens -= ticket.tokens
            self._note(ticket.tokens if answered else 0)

    def tokens_before(self, caller: Caller) -> int:
        """What the engine has to do before it is done with a job that the caller brings now, that job apart."""
        return self.inside_tokens + self.queue.cost_before(caller)

    @property
    def tokens_per_s(self) -> float | None:
        """The engine's pace of late, None while it is not known."""
        return self._pace.tokens_per_s

    def _note(self, tokens: int) -> None:
        now_s = time.monotonic()
        if self._pressed:
            self._pace.learn(tokens, now_s - self._noted_s)
        self._noted_s, self._pressed = now_s, len(self.queue) > 0

    def _admit(self, caller: Caller, tokens: int, deadline: Deadline) -> None:
        rate = self.tokens_per_s
        if rate is not None:
            late_s = self.tokens_before(caller) / rate - deadline.remaining_s
            if late_s > 0:
                raise overloaded(
                    "the work in front of this rollout takes longer than its deadline allows", late_s
                )
        surplus = self.queue.cost + tokens - self.max_tokens
        if surplus <= 0:
            return
        _, own = self.queue.by_tenant().get(caller.tenant, (0, 0))
        # Alone, a job may be as large as it likes: waiting would not make it smaller.
        if own and own + tokens > self.max_tokens * self.queue.share(caller):
            raise overloaded("as many tokens wait for the engine as may", surplus / rate if rate else 0.0)


def overloaded(detail: str, retry_after_s: float) -> AnnotationFailed:
    """The refusal of what may come again later."""
    return AnnotationFailed(
        FailureKind.OVERLOADED,
        f"{detail}: try again later, or allow it more time",
        retry_after_s=max(retry_after_s, SOONEST_RETRY_S),
    )
