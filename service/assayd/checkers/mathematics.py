"""Compares answers as mathematics: numbers here, everything else by math-verify in a process of its own.

The texts are hostile: ``10^10^10`` holds an interpreter for ever, in one step that no signal and no thread can
break. So the library runs in a worker that is killed when it takes too long, and started again when it is needed;
its import, and that of sympy, stays out of the service.
"""

import asyncio
import json
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final

from ..domain.failure import AnnotationFailed, FailureKind
from ..domain.ports import Deadline
from ..domain.rewriting import Verdict
from .answers import final_answer

LIMIT_S: Final = 5.0
"""Longest comparison."""
START_LIMIT_S: Final = 60.0
LONGEST_ANSWER_CHARACTERS: Final = 400

_NUMBER: Final = re.compile(
    r"\\?\$?\s*([-+]?)\s*\\?\$?\s*(\d{1,3}(?:,\d{3})+|\d{1,40})(\.\d{0,40})?\s*\\?\$?"
)
# A unit behind a number says nothing about its size, unless it is one of those that do.
_UNIT: Final = re.compile(
    r"(?<=[\d$])\s*(?!hundred|thousand|million|billion|trillion|dozen|percent|or\b|and\b)[A-Za-z]+(?:\s[A-Za-z'’-]+){0,7}$",
    re.IGNORECASE,
)


class MathChecker:
    """Compares the final answers of two texts. One worker at most, which answers one question at a time."""

    name = "math"

    def __init__(self, *, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._worker: Process | None = None
        self._turn = asyncio.Lock()

    async def check(self, text: str, gold: str, *, tolerance: float, deadline: Deadline) -> Verdict:
        """Numbers may differ by ``tolerance``; formulas have to be equal.

        Raises ``AnnotationFailed`` with kind ``past_deadline``.
        """
        known, given = _answer(gold), _answer(text)
        if not known or len(known) > LONGEST_ANSWER_CHARACTERS:
            return Verdict.UNREADABLE
        if not given or len(given) > LONGEST_ANSWER_CHARACTERS:
            return Verdict.WRONG
        if given.casefold() == known.casefold():
            return Verdict.RIGHT
        numbers = number_of(known), number_of(given)
        if numbers[0] is not None and numbers[1] is not None:
            return Verdict.RIGHT if abs(numbers[0] - numbers[1]) <= Decimal(tolerance) else Verdict.WRONG
        async with self._turn:
            return await self._asked({"gold": known, "text": given, "tolerance": tolerance}, deadline)

    async def close(self) -> None:
        """End the worker; safe to call twice."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        with suppress(ProcessLookupError):
            worker.kill()
        # Reads what is left, so that the pipes are closed with it.
        await worker.communicate()

    async def _asked(self, question: dict[str, Any], deadline: Deadline) -> Verdict:
        answered = False
        try:
            worker = await asyncio.wait_for(self._started(), _within(START_LIMIT_S, deadline))
            line = json.dumps(question).encode() + b"\n"
            answer = await asyncio.wait_for(_exchange(worker, line), _within(self._limit_s, deadline))
            answered = bool(answer)
        except (TimeoutError, ConnectionError):
            answer = b""
        finally:
            if not answered:
                await self.close()
        if not answered and deadline.passed:
            raise AnnotationFailed(
                FailureKind.PAST_DEADLINE, "the deadline passed before the answers were compared"
            )
        return Verdict(json.loads(answer)) if answered else Verdict.UNREADABLE

    async def _started(self) -> Process:
        if self._worker is None or self._worker.returncode is not None:
            await self.close()
            self._worker = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "assayd.checkers.worker", stdin=PIPE, stdout=PIPE, stderr=DEVNULL
            )
            await _line(self._worker)
        return self._worker


def number_of(answer: str) -> Decimal | None:
    """The value of a plain number, thousands and dollar signs allowed; None for anything else."""
    found = _NUMBER.fullmatch(answer)
    if found is None:
        return None
    sign, whole, fraction = found.groups()
    return Decimal(f"{sign}{whole.replace(',', '')}{fraction or ''}")


def _answer(text: str) -> str | None:
    answer = final_answer(text)
    return None if answer is None else _UNIT.sub("", answer)


def _within(limit_s: float, deadline: Deadline) -> float:
    return max(0.0, min(limit_s, deadline.remaining_s))


async def _exchange(worker: Process, line: bytes) -> bytes:
    if worker.stdin is not None:
        worker.stdin.write(line)
        await worker.stdin.drain()
    return await _line(worker)


async def _line(worker: Process) -> bytes:
    return b"" if worker.stdout is None else await worker.stdout.readline()
