"""Drives a run: chunks of rows in flight, so many and no more, journalled in the order of the rows."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

from .calling import Caller
from .columns import Columns, Unreadable
from .journal import Entry, Journal, read_entries
from .kinds import Kind, failed, for_kind, is_ok
from .plan import Plan, goes_by_group
from .progress import Teller
from .run import Run
from .stopping import Stopped
from .tables import Row, Table, in_chunks, standing_apart


@dataclass(frozen=True, slots=True)
class Pace:
    """Rows in one call, and calls' worth of rows in flight at once."""

    rows: int
    calls: int


@dataclass(frozen=True, slots=True)
class _Work:
    """Rows to judge, and what is known of each."""

    rows: Sequence[Row]
    known: Sequence[Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Annotator:
    """One run on its way."""

    run: Run
    plan: Plan
    table: Table
    columns: Columns
    caller: Caller
    pace: Pace

    def check_groups(self) -> None:
        """Raise ``Stopped`` unless rows that are compared with each other stand together."""
        if not self.plan.grouped:
            return
        apart = standing_apart(self.table.rows(), self._group_of)
        if apart is not None:
            raise Stopped(
                f"rows {apart[0]} and {apart[1]} belong together and stand apart: value_source group_mean compares "
                "them, so sort the rows by prompt"
            )

    async def annotate(self, teller: Teller, journal: Journal) -> None:
        """Judge what the journal does not have yet."""
        rows = self.table.rows(journal.rows)
        await self._drive(rows, repeat({}), journal, teller)

    async def retry(self, teller: Teller, journal: Journal, former: Path) -> None:
        """Write ``former`` anew into ``journal``, its failed annotations judged once more."""
        before = read_entries(former)
        for _ in range(journal.rows):
            next(before)
        good = ({name: result for name, result in entry.results.items() if is_ok(result)} for entry in before)
        await self._drive(self.table.rows(journal.rows), good, journal, teller)

    async def _drive(
        self,
        rows: Iterator[Row],
        known: Iterator[Mapping[str, Mapping[str, Any]]],
        journal: Journal,
        teller: Teller,
    ) -> None:
        waiting: deque[asyncio.Task[list[Entry]]] = deque()
        try:
            for chunk in in_chunks(rows, self.pace.rows, self._group_of if self.plan.grouped else None):
                if len(waiting) == self.pace.calls:
                    self._keep(await waiting.popleft(), journal, teller)
                work = _Work(chunk, [next(known) for _ in chunk])
                waiting.append(asyncio.create_task(self._judge(work)))
            while waiting:
                self._keep(await waiting.popleft(), journal, teller)
        finally:
            await _cancelled(waiting)

    def _keep(self, entries: list[Entry], journal: Journal, teller: Teller) -> None:
        # On the event loop, not in a thread: nothing may come between a row and its place.
        self.run.remember(self.caller.recipes)
        journal.append(entries)
        teller.advance(len(entries), _failures(entries), self.caller.waits)

    async def _judge(self, work: _Work) -> list[Entry]:
        rollouts: list[dict[str, Any] | dict[str, str]] = []
        for row in work.rows:
            try:
                rollouts.append({**self.columns.rollout(row.values), "id": str(row.index)})
            except Unreadable as error:
                rollouts.append({"unreadable": str(error)})
        tasks = {
            kind.name: asyncio.create_task(self._judge_by(kind, rollouts, work.known))
            for kind in self.plan.kinds
        }
        try:
            judged = {name: await task for name, task in tasks.items()}
        finally:
            await _cancelled(tasks.values())
        return [
            Entry(row.digest, {name: results[place] for name, results in judged.items()})
            for place, row in enumerate(work.rows)
        ]

    async def _judge_by(
        self,
        kind: Kind,
        rollouts: Sequence[Mapping[str, Any]],
        known: Sequence[Mapping[str, Mapping[str, Any]]],
    ) -> list[dict[str, Any]]:
        results: list[dict[str, Any] | None] = [
            failed("invalid", rollout["unreadable"]) if "unreadable" in rollout else None
            for rollout in rollouts
        ]
        for place, former in enumerate(self._kept(kind, rollouts, known)):
            if results[place] is None and former is not None:
                results[place] = dict(former)
        missing = [place for place, result in enumerate(results) if result is None]
        judged = await self.caller.judge(kind, [for_kind(kind, rollouts[place]) for place in missing])
        for place, result in zip(missing, judged, strict=True):
            results[place] = result
        return [result for result in results if result is not None]

    def _kept(
        self,
        kind: Kind,
        rollouts: Sequence[Mapping[str, Any]],
        known: Sequence[Mapping[str, Mapping[str, Any]]],
    ) -> Sequence[Mapping[str, Any] | None]:
        """What is known and stays: in a group that is compared with itself, all or nothing."""
        kept = [results.get(kind.name) for results in known]
        if not goes_by_group(self.plan.asked[kind.name]):
            return kept
        groups = [_group(rollout) for rollout in rollouts]
        again = {group for group, result in zip(groups, kept, strict=True) if result is None}
        return [None if group in again else result for group, result in zip(groups, kept, strict=True)]

    def _group_of(self, row: Row) -> str:
        try:
            return _group(self.columns.rollout(row.values))
        except Unreadable:
            return ""


def _group(rollout: Mapping[str, Any]) -> str:
    """What rollouts that are compared with each other have in common."""
    return str(rollout.get("group") or rollout.get("prompt"))


def _failures(entries: Sequence[Entry]) -> int:
    return sum(not is_ok(result) for entry in entries for result in entry.results.values())


async def _cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Give up what is not done, and wait until it has been given up."""
    pending = list(tasks)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
