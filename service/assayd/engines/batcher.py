"""Puts the requests of many callers into batches for one model that one thread owns.

A batch is the request that has waited longest and those nearest to it in length, under a budget of padded
tokens: so padding stays small, and no request waits for more batches than there were requests before it.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Generic, TypeAlias, TypeVar

from ..domain.failure import AnnotationFailed, Blame, FailureKind
from ..domain.ports import Deadline

NOT_FINITE: Final = "the model computed numbers that are not finite"
"""Of one row: its neighbours in the batch are none the worse."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class Job(Generic[Item, Result]):
    """One request. ``size`` is the most tokens it may occupy."""

    item: Item
    size: int
    deadline: Deadline
    _future: "Future[Result]" = field(default_factory=Future)

    @property
    def gone(self) -> bool:
        """Whether it needs no more work: answered, its caller gone, or its deadline passed."""
        return self._future.done() or self.deadline.passed

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


def choose(
    pending: Sequence[Job[Item, Result]], active: Sequence[Job[Item, Result]], budget_tokens: int
) -> list[Job[Item, Result]]:
    """The oldest of ``pending`` and its nearest in size, as far as they fit in beside ``active``.

    Padded to the longest, all of them stay within ``budget_tokens``; only a job that runs alone may exceed it.
    """
    chosen: list[Job[Item, Result]] = []
    rows, longest = len(active), max((job.size for job in active), default=0)
    # sorted() is stable: of two jobs of one size the older comes first.
    for job in sorted(pending, key=lambda job: abs(job.size - pending[0].size)):
        rows, longest = rows + 1, max(longest, job.size)
        if rows > 1 and rows * longest > budget_tokens:
            break
        chosen.append(job)
    return chosen


class Batcher(Generic[Item, Result]):
    """A queue in front of ``run``, which is called from one thread only."""

    def __init__(self, run: Run[Item, Result], *, budget_tokens: int, name: str) -> None:
        self._run = run
        self._budget_tokens = budget_tokens
        self._pending: list[Job[Item, Result]] = []
        self._active: list[Job[Item, Result]] = []
        self._changed = threading.Condition()
        self._closed = False
        self.failing = False
        """Whether the last run raised."""
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether a job submitted now would be seen."""
        return self._thread.is_alive() and not self._closed

    async def submit(self, item: Item, *, size: int, deadline: Deadline) -> Result:
        """The result of one item, ``size`` tokens long at most.

        Raises ``AnnotationFailed``: ``past_deadline``, or ``engine`` when the item fails even when run alone.
        """
        job: Job[Item, Result] = Job(item, size, deadline)
        with self._changed:
            if not self.alive:
                raise AnnotationFailed(FailureKind.ENGINE, "the engine is closed")
            self._pending.append(job)
            self._changed.notify()
        return await job.result()

    async def close(self) -> None:
        """Fail what is waiting or running and end the thread; safe to call twice."""
        with self._changed:
            self._closed = True
            for job in (*self._pending, *self._active):
                job.fail(FailureKind.ENGINE, "the engine was closed")
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closed)
                if self._closed:
                    return
            if jobs := self._take(1):
                self._answer(jobs)

    def _take(self, at_least: int) -> list[Job[Item, Result]]:
        """Move the jobs that fit in now from pending to active."""
        if len(self._pending) < at_least:
            return []
        with self._changed:
            self._active = [job for job in self._active if not job.gone]
            self._pending = [job for job in self._pending if not job.gone]
            chosen = choose(self._pending, self._active, self._budget_tokens)
            if len(chosen) < at_least:
                return []
            taken = set(chosen)
            self._pending = [job for job in self._pending if job not in taken]
            self._active += chosen
        return chosen

    def _answer(self, jobs: list[Job[Item, Result]]) -> None:
        self._attempt(jobs, self._take)
        # After a failure one of several jobs is to blame: alone, the others succeed.
        for job in [job for job in self._active if not job.gone]:
            error = self._attempt([job], lambda at_least: [])
            detail = f"the model failed: {type(error).__name__}: {error}"
            job.fail(FailureKind.ENGINE, detail, blame=Blame.ALONE)
        self._active = []

    def _attempt(self, jobs: list[Job[Item, Result]], joiners: Joiners[Item, Result]) -> Exception | None:
        error: Exception | None = None
        try:
            self._run(jobs, joiners)
        except Exception as raised:  # whatever a model raises, its thread lives on
            error = raised
        self.failing = error is not None
        return error
