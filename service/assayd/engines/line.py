"""The line in front of one engine: a fair queue, its door, and what there is to tell of both.

The door refuses whoever it knows to be late: by what is in front of a newcomer of this tenant and by the engine's pace
of late, the wait alone is longer than the deadline allows. It refuses too what would make the line longer than it may
be, of those tenants who take up more than their share of it. Work is refused before its first engine or not at all:
what has been let in to one engine is let in to the next. So where it is known which they are (``set_out``), it is all
of them that are looked at.
"""

import time
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from threading import RLock
from typing import Final, Generic, TypeVar

from ..domain.caller import Caller, current_caller
from ..domain.failure import AnnotationFailed, FailureKind
from ..domain.ports import Deadline, Engine, Queue, Queues
from ..tracing import here, record
from .fair_queue import FairQueue
from .pace import Pace

Job = TypeVar("Job", bound=Hashable)

MAX_TOKENS: Final = 4_000_000
"""A thousand for each of as many rollouts as the service takes in at once."""
SLACK: Final = 1.3
"""By how much the work in front may turn out longer than it looks before those who are let in are late."""

_BEGUN: Final[tuple[Queue, ...]] = ()
_road: ContextVar[tuple[Queue, ...] | None] = ContextVar("road", default=None)
"""The lines before the rollout at hand, None where it is not known; ``_BEGUN`` once it has been let in to one."""


@dataclass(slots=True)
class Served:
    """What has become of one tenant's jobs."""

    taken: int = 0
    waited_s: float = 0.0
    """Of all that were taken, together."""
    refused: int = 0
    left: int = 0
    answered: int = 0
    worked_s: float = 0.0
    """Of all that have left the engine, together."""


@dataclass(frozen=True, slots=True)
class Figures:
    """A line at one moment. Sums are over its whole life."""

    waiting: Mapping[str, tuple[int, int]]
    """Jobs and their tokens, by tenant; a tenant who has waited before is told of too."""
    served: Mapping[str, Served]
    real_tokens: int
    padded_tokens: int


@dataclass(frozen=True, slots=True)
class _Ticket:
    caller: Caller
    tokens: int
    since_s: float
    """When it came, or once it is inside, when it was let in."""
    place: object
    """Where its spans belong."""


class Line(Generic[Job]):
    """Those who wait for an engine, and those inside. Threads may share it; ``lock`` makes several steps one.

    Without a ``door`` nobody is refused. Spans of waiting and of what follows begin with ``name``.
    """

    def __init__(self, *, door: bool = True, name: str = "engine") -> None:
        self._door = door
        self._name = name
        self.lock = RLock()
        self.max_tokens = MAX_TOKENS
        self.queue: FairQueue[Job] = FairQueue()
        self._tickets: dict[Job, _Ticket] = {}
        self._inside_tokens = 0
        self._served: defaultdict[str, Served] = defaultdict(Served)
        self._real_tokens = self._padded_tokens = 0
        self._pace = Pace()
        self._pressed = False
        self._noted_s = 0.0

    def enter(self, job: Job, tokens: int, deadline: Deadline) -> None:
        """Let a job of the current caller wait; raises ``AnnotationFailed`` (``overloaded``) where it would in vain."""
        caller = current_caller()
        if self._door:
            self._check(caller, tokens, deadline)
        with self.lock:
            self._tickets[job] = _Ticket(caller, tokens, time.monotonic(), here())
            self.queue.push(job, tokens, caller)

    def take(self, job: Job) -> None:
        """Let a job that waits inside."""
        with self.lock:
            self.queue.take(job)
            ticket = self._tickets[job]
            served = self._served[ticket.caller.tenant]
            served.taken += 1
            now_s = time.monotonic()
            served.waited_s += now_s - ticket.since_s
            record(f"{self._name}.wait", ticket.place, ticket.since_s, tokens=ticket.tokens)
            self._tickets[job] = replace(ticket, since_s=now_s)
            self._inside_tokens += ticket.tokens
            self._note(0)

    def leave(self, job: Job, *, answered: bool = False) -> None:
        """See a job off, wherever it is; safe to call twice."""
        with self.lock:
            ticket = self._tickets.pop(job, None)
            if ticket is None:
                return
            if job in self.queue:
                self.queue.remove(job)
            else:
                self._inside_tokens -= ticket.tokens
                self._note(ticket.tokens if answered else 0)
                served = self._served[ticket.caller.tenant]
                served.left += 1
                served.answered += answered
                served.worked_s += time.monotonic() - ticket.since_s
                record(f"{self._name}.run", ticket.place, ticket.since_s, tokens=ticket.tokens)

    def count_batch(self, sizes: Sequence[int]) -> None:
        """Take note of a batch whose jobs are padded to the longest."""
        with self.lock:
            self._real_tokens += sum(sizes)
            self._padded_tokens += len(sizes) * max(sizes)

    def tokens_before(self, caller: Caller) -> int:
        """What the engine has to do before it begins with a job that the caller brings now."""
        with self.lock:
            return self._inside_tokens + self.queue.cost_before(caller)

    @property
    def tokens_per_s(self) -> float | None:
        """The engine's pace of late, None while it is not known."""
        return self._pace.tokens_per_s

    def figures(self) -> Figures:
        """What there is to tell."""
        with self.lock:
            served = {tenant: replace(told) for tenant, told in self._served.items()}
            waiting = dict.fromkeys(served, (0, 0)) | self.queue.by_tenant()
            return Figures(waiting, served, self._real_tokens, self._padded_tokens)

    def _note(self, tokens: int) -> None:
        now_s = time.monotonic()
        if self._pressed:
            self._pace.learn(tokens, now_s - self._noted_s)
        self._noted_s, self._pressed = now_s, len(self.queue) > 0

    def _check(self, caller: Caller, tokens: int, deadline: Deadline) -> None:
        road = _road.get()
        if road is _BEGUN:
            return
        try:
            refuse_hopeless(road or (self,), tokens, deadline)
            self._refuse_surplus(caller, tokens)
        except AnnotationFailed:
            with self.lock:
                self._served[caller.tenant].refused += 1
            raise
        _road.set(_BEGUN)

    def _refuse_surplus(self, caller: Caller, tokens: int) -> None:
        with self.lock:
            surplus = self.queue.cost + tokens - self.max_tokens
            if surplus <= 0:
                return
            _, own = self.queue.by_tenant().get(caller.tenant, (0, 0))
            share = self.max_tokens * self.queue.share(caller)
        # Alone, a job may be as large as it likes: waiting would not make it smaller.
        if own and own + tokens > share:
            rate = self.tokens_per_s
            raise _overloaded("as many tokens wait for the engine as may", surplus / rate if rate else 1.0)


def lines_of(engines: Sequence[Engine]) -> tuple[Queue, ...]:
    """The lines in front of them."""
    return tuple(engine.line for engine in engines if isinstance(engine, Queues))


def set_out(road: tuple[Queue, ...], deadline: Deadline) -> None:
    """Say through which lines the rollout at hand will go, one after the other; none where that is not known.

    Raises ``AnnotationFailed`` (``overloaded``) where it is known by now that it would be late.
    """
    refuse_hopeless(road, 0, deadline)
    _road.set(road or None)


def refuse_hopeless(road: Sequence[Queue], tokens: int, deadline: Deadline, *, slack: float = SLACK) -> None:
    """Raise ``AnnotationFailed`` (``overloaded``) for what would be late at the end of the road, by what is known now.

    What waits in the first line is yet to come to the others, so it is before a newcomer there too. Where nothing is
    in front nobody is refused: to come again later would not help.
    """
    caller, before = current_caller(), 0
    for line in road:
        before += line.tokens_before(caller)
        rate = line.tokens_per_s
        if rate is None or before == 0:
            continue
        late_s = (slack * before + tokens) / rate - deadline.remaining_s
        if late_s > 0:
            raise _overloaded(
                "the work in front of this rollout takes longer than its deadline allows", late_s
            )


def _overloaded(detail: str, retry_after_s: float) -> AnnotationFailed:
    return AnnotationFailed(
        FailureKind.OVERLOADED,
        f"{detail}: try again later, or allow it more time",
        retry_after_s=retry_after_s,
    )
