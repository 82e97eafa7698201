"""Tells a person how a run goes: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

_LINE_EVERY_S: Final = 10.0


class Teller:
    """Rows, rate, failures and time left of one pass, on ``console``; ``done`` rows were there to begin with."""

    def __init__(
        self,
        console: Console,
        what: str,
        *,
        rows: int,
        done: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._what = what
        self._rows = rows
        self._done = self._before = done
        self._failures = self._waits = 0
        self._clock = clock
        self._began_s = self._told_s = clock()
        self._told = ""
        self._bar = self._make_bar() if console.is_terminal else None

    def _make_bar(self) -> Progress:
        bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[failures]}"),
            TimeRemainingColumn(),
            console=self._console,
        )
        bar.add_task(self._what, total=self._rows, completed=self._done, rate="", failures="")
        return bar

    def advance(self, rows: int, failures: int, waits: int) -> None:
        """Count rows that are journalled."""
        self._done += rows
        self._failures += failures
        self._waits = waits
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0], completed=self._done, rate=self._rate(), failures=self._troubles()
            )
        elif self._clock() - self._told_s >= _LINE_EVERY_S:
            self._told_s = self._clock()
            self._tell()

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        else:
            self._tell()

    def _tell(self) -> None:
        line = self._line()
        if line != self._told:
            self._console.print(line, soft_wrap=True, highlight=False)
            self._told = line

    def _line(self) -> str:
        parts = [f"{self._what}: {self._done:,}/{self._rows:,} rows", self._rate(), self._troubles()]
        speed = self._per_s()
        if self._done < self._rows and speed > 0:
            parts.append(f"{_clock_face((self._rows - self._done) / speed)} left")
        return ", ".join(part for part in parts if part)

    def _rate(self) -> str:
        return f"{self._per_s():,.1f} rows/s" if self._done > self._before else ""

    def _troubles(self) -> str:
        waited = f", waited {self._waits} times" if self._waits else ""
        return f"{self._failures:,} failed{waited}"

    def _per_s(self) -> float:
        return (self._done - self._before) / max(self._clock() - self._began_s, 1e-9)


def _clock_face(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
