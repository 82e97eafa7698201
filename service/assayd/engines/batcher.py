"""Puts the requests of many callers into batches for one model that one thread owns.

A batch is the request whose turn it is (``fair_queue``) and such as go well with it, by their lengths, under a budget
of padded tokens: so padding stays small, batches are well filled, and each tenant is charged for what it has in them.
Whoever goes well with those before him overtakes others. While these have time that costs nobody anything; the less
time the oldest has left, the fewer are those among whom there is a choice, down to a few of the oldest.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Generic, TypeAlias, TypeVar

import structlog

from ..domain.failure import AnnotationFailed, Blame, FailureKind
from ..domain.ports import Deadline
from ..telemetry import raised_at
from .line import Line

NOT_FINITE: Final = "the model computed numbers that are not finite"
"""Of one row: its neighbours in the batch are none the worse."""

Item = TypeVar("Item")
Result = TypeVar("Result")

CHOICE: Final = 1024
"""Among so many jobs a batch is put together: with more of them it would be no fuller."""
LEAST_CHOICE: Final = 8
"""Among so many always: with fewer, passes would be nearly empty, and all the later for it."""
AT_LEISURE: Final = 0.4
"""Of its time, as long as it has so much left, the oldest may be overtaken by all."""

WITNESS_S: Final = 10.0
"""How long it may take a model to show that it still works."""

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Job(Generic[Item, Result]):
    """One request. ``size`` is the most tokens it may occupy."""

    item: Item
    size: int
    deadline: Deadline
    since_s: float = field(default_factory=time.monotonic)
    _future: "Future[Result]" = field(default_factory=Future)

    @property
    def time_left(self) -> float:
        """The part of the time it had when it came that is left, in [0, 1]."""
        if math.isinf(self.deadline.at_s):
            return 1.0
        had_s = self.deadline.at_s - self.since_s
        return max(0.0, self.deadline.remaining_s / had_s) if had_s > 0 else 0.0

    @property
    def gone(self) -> bool:
        """Whether it needs no more work: answered, its caller gone, or its deadline passed."""
        return self._future.done() or self.deadline.passed

    @property
    def answered(self) -> bool:
        """Whether the model is done with it."""
        return self._future.done() and not self._future.cancelled()

    @property
    def judged(self) -> bool:
        """Whether the model gave a result."""
        return self.answered and self._future.exception() is None

    def answer(self, result: Result) -> None:
        """Hand the result to the caller; moot once the job is gone."""
        with suppress(InvalidStateError):
            self._future.set_result(result)

    def fail(self, kind: FailureKind, detail: str, *, blame: Blame | None = None) -> None:
        """Tell the caller that there will be no result; moot once the job is gone."""
        with suppress(InvalidStateError):
            self._future.set_exception(AnnotationFailed(kind, detail, blame=blame))

    async def result(self) -> Result:
        """Wait until the deadline; whoever stops waiting makes the job ``gone``."""
        try:
            async with asyncio.timeout(self.deadline.remaining_s):
                return await asyncio.wrap_future(self._future)
        except TimeoutError:
            raise AnnotationFailed(
                FailureKind.PAST_DEADLINE, "the deadline passed before the model had answered"
            ) from None


Joiners: TypeAlias = Callable[[int], list[Job[Item, Result]]]
"""Takes jobs that fit in beside those still active: at least so many, or none."""
Run: TypeAlias = Callable[[list[Job[Item, Result]], Joiners[Item, Result]], None]
"""Answers every job. A run that lasts may take in more jobs by its second argument."""
Choose: TypeAlias = Callable[[Sequence[int], Sequence[int]], Sequence[int]]
"""Which of those that wait to take beside those inside, by the sizes of both. The first that waits has the turn: it is
taken, or nobody is."""


def nearest(budget_tokens: int) -> Choose:
    """The one whose turn it is and its nearest in size, as far as they fit in beside those inside.

    Padded to the longest, all of them stay within ``budget_tokens``; only a job that runs alone may exceed it.
    """

    def choose(waiting: Sequence[int], inside: Sequence[int]) -> list[int]:
        chosen: list[int] = []
        rows, longest = len(inside), max(inside, default=0)
        if rows and (rows + 1) * max(longest, waiting[0]) > budget_tokens:
            return []
        # sorted() is stable: of two jobs of one size the older comes first.
        for index in sorted(range(len(waiting)), key=lambda index: abs(waiting[index] - waiting[0])):
            rows, longest = rows + 1, max(longest, waiting[index])
            if rows > 1 and rows * longest > budget_tokens:
                break
            chosen.append(index)
        return chosen

    return choose


class Batcher(Generic[Item, Result]):
    """A line in front of ``run``, which is called from one thread only."""

    def __init__(self, run: Run[Item, Result], choose: Choose, *, name: str) -> None:
        self._run = run
        self._choose = choose
        self._name = name
        self.line: Line[Job[Item, Result]] = Line()
        self._active: list[Job[Item, Result]] = []
        self._changed = threading.Condition(self.line.lock)
        self._closed = False
        self.failing = False
        """Whether the last run raised."""
        self._witness: tuple[Item, int] | None = None
        """The shortest item of the last run that gave results, and its size."""
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether a job submitted now would be seen."""
        return self._thread.is_alive() and not self._closed

    async def submit(self, item: Item, *, size: int, deadline: Deadline) -> Result:
        """The result of one item, ``size`` tokens long at most.

        Raises ``AnnotationFailed``: ``overloaded`` at the door, ``past_deadline``, or ``engine`` when the item fails
        even when run alone.
        """
        job: Job[Item, Result] = Job(item, size, deadline)
        with self._changed:
            if not self.alive:
                raise AnnotationFailed(FailureKind.ENGINE, "the engine is closed")
            self.line.enter(job, size, deadline)
            self._changed.notify()
        try:
            return await job.result()
        finally:
            # Whoever stops waiting leaves the line now, and the model at its next step.
            with self._changed:
                if job in self.line.queue:
                    self.line.leave(job)

    async def close(self) -> None:
        """Fail what is waiting or running and end the thread; safe to call twice."""
        with self._changed:
            self._closed = True
            for job in (*self.line.queue, *self._active):
                job.fail(FailureKind.ENGINE, "the engine was closed")
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: len(self.line.queue) or self._closed)
                if self._closed:
                    return
            if jobs := self._take(1):
                self._answer(jobs)

    def _take(self, at_least: int) -> list[Job[Item, Result]]:
        """Let the jobs that fit in now go from the line to the model."""
        with self._changed:
            self._see_off()
            waiting = self._waiting()
        if len(waiting) < at_least:
            return []
        # Choosing among thousands takes a while: those who come meanwhile are not to wait for the lock.
        chosen = self._choose([job.size for job in waiting], [job.size for job in self._active])
        with self._changed:
            taken = [job for index in chosen if not (job := waiting[index]).gone and job in self.line.queue]
            if len(taken) < at_least:
                return []
            for job in taken:
                self.line.take(job)
        self._active += taken
        return taken

    def _waiting(self) -> list[Job[Item, Result]]:
        """Those in line, the one whose turn it is first, the others by age as far as there is a choice."""
        queue = self.line.queue
        while queue:
            turn = queue.peek()
            if not turn.gone:
                others = (job for job in queue if job is not turn)
                return [turn, *islice(others, self._choice() - 1)]
            self.line.leave(turn)
        return []

    def _choice(self) -> int:
        """How many of those in line a batch is put together from."""
        oldest = next(iter(self.line.queue))
        at_ease = min(1.0, oldest.time_left / AT_LEISURE)
        return min(CHOICE, max(LEAST_CHOICE, round(at_ease * len(self.line.queue))))

    def _see_off(self) -> None:
        for job in self._active:
            if job.gone:
                self.line.leave(job, answered=job.answered)
        self._active = [job for job in self._active if not job.gone]

    def _answer(self, jobs: list[Job[Item, Result]]) -> None:
        if self._attempt(jobs, self._take):
            # Those that joined the run are among the suspects.
            self._bisect([job for job in self._active if not job.gone])
        for job in self._active:
            job.fail(FailureKind.ENGINE, "the model gave no answer to this rollout")
        with self._changed:
            self._see_off()

    def _bisect(self, suspects: list[Job[Item, Result]]) -> None:
        """Answer all but those that fail even when run alone: of n with one bad among them, in some 2 log2(n) runs."""
        if len(suspects) == 1:
            if error := self._attempt(suspects, _nobody):
                # What it says may quote what the model was given: where it was raised is enough.
                log.error(
                    "model_failed", model=self._name, error=type(error).__name__, where=raised_at(error)
                )
                suspects[0].fail(
                    FailureKind.ENGINE,
                    "the model failed on this rollout, though it was run alone; the service's log says where",
                    blame=Blame.ALONE if self._sound() else None,
                )
            return
        middle = len(suspects) // 2
        for half in (suspects[:middle], suspects[middle:]):
            if (half := [job for job in half if not job.gone]) and (
                len(half) == 1 or self._attempt(half, _nobody)
            ):
                self._bisect([job for job in half if not job.gone])

    def _sound(self) -> bool:
        """Whether the model still answers what it answered last: where it fails on all, no rollout is to blame."""
        if self._witness is None:
            return False
        again = Job[Item, Result](*self._witness, Deadline.after(WITNESS_S))
        return self._attempt([again], _nobody) is None

    def _attempt(self, jobs: list[Job[Item, Result]], joiners: Joiners[Item, Result]) -> Exception | None:
        error: Exception | None = None
        try:
            self._run(jobs, joiners)
        except Exception as raised:  # whatever a model raises, its thread lives on
            error = raised
        self.failing = error is not None
        if judged := [(job.item, job.size) for job in jobs if job.judged]:
            self._witness = min(judged, key=lambda one: one[1])
        return error


def _nobody(at_least: int) -> list[Job[Item, Result]]:
    return []
