"""The folder of a run: its plan, the recipes it was judged by, and its journals. One process at a time."""

import fcntl
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from .journal import read_entries, write_whole
from .plan import Plan, differences
from .stopping import Stopped

SUFFIX: Final = ".assay"


@dataclass(frozen=True, slots=True)
class _Places:
    plan: Path
    recipes: Path
    journal: Path
    retry: Path
    lock: Path


class Run:
    """What is kept of one run beside its output, in the folder ``OUT.assay``. Use it as a context manager.

    Entering raises ``Stopped`` while another process works on the same output.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out.with_name(out.name + SUFFIX)
        self._at = _Places(
            *(
                self.folder / name
                for name in ("plan.json", "recipes.json", "journal", "journal.retry", "lock")
            )
        )
        self._lock: int | None = None
        self._remembered: set[str] = set()

    @property
    def journal(self) -> Path:
        """What has been judged so far, from the first row on."""
        return self._at.journal

    @property
    def retry(self) -> Path:
        """The journal that takes the place of the first when failed rows have been retried; it may not be there."""
        return self._at.retry

    def begin(self, plan: Plan, *, fresh: bool) -> None:
        """Begin, or go on with the same plan; raises ``Stopped``, naming what has changed, for another one."""
        if fresh:
            for path in (self._at.retry, self._at.journal, self._at.recipes, self._at.plan):
                with suppress(FileNotFoundError):
                    path.unlink()
        if not self._judged_any():
            if self.out.exists() and not fresh and not self._at.plan.exists():
                raise Stopped(
                    f"{self.out} is there already, and is not of a run that can go on: say --fresh to replace it"
                )
            with suppress(FileNotFoundError):
                self._at.recipes.unlink()
            write_whole(self._at.plan, msgspec.json.format(msgspec.json.encode(plan)))
            return
        before = msgspec.json.decode(self._at.plan.read_bytes())
        now = msgspec.to_builtins(plan)
        if changes := list(differences(before, now)):
            raise Stopped(
                f"{self.out} was begun otherwise: {'; '.join(changes)}. Take that back, write to another file, or "
                "begin anew with --fresh"
            )

    def _judged_any(self) -> bool:
        return next(read_entries(self._at.journal), None) is not None or self._at.retry.exists()

    def recipes(self) -> dict[str, Mapping[str, Any]]:
        """The recipes that the rows so far were judged by, by annotation."""
        try:
            recipes = msgspec.json.decode(self._at.recipes.read_bytes(), type=dict[str, dict[str, Any]])
        except FileNotFoundError:
            return {}
        self._remembered = set(recipes)
        return dict(recipes)

    def remember(self, recipes: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep the recipes; call it before a row that was judged by them is journalled."""
        if recipes.keys() == self._remembered:
            return
        write_whole(self._at.recipes, msgspec.json.format(msgspec.json.encode(recipes)))
        self._remembered = set(recipes)

    def retried(self) -> None:
        """Let the journal of the retry take the place of the first."""
        self._at.retry.replace(self._at.journal)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._at.lock, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise Stopped(f"another process is writing {self.out}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._lock is not None:
            os.close(self._lock)
