"""Asks every hosted model its canary: when it is first hosted, after it failed or was started again, and now and then.

An engine that merely lives is not ready: wrong weights, another chat template or an activation that crept in answer
every call, with other numbers. The canary waits in the same queue as everybody's work, as a caller of its own.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import structlog

from ..domain.caller import ITSELF, calling
from ..domain.failure import AnnotationFailed, FailureKind
from ..domain.ports import Deadline, Engine, Tended
from ..telemetry import Telemetry
from .canaries import Canaries, difference
from .questions import CANARY, answers

ANSWER_TIMEOUT_S: Final = 30.0
"""How long a canary may wait for its answer: behind a long batch, but not behind a kernel that hangs."""
WAIT_S: Final = 5.0
"""How long whoever asks for readiness waits for a canary, where nothing better is known than its answer."""
RETRY_S: Final = 1.0
"""How soon an engine that is not sound is asked again."""
UNASKABLE: Final = frozenset({FailureKind.TOO_LONG, FailureKind.UNALIGNED})
"""The model is too small for the question, or reads it otherwise: nothing can be compared."""
BUSY: Final = frozenset({FailureKind.PAST_DEADLINE, FailureKind.OVERLOADED})

log = structlog.get_logger()


class _Patient:
    """One engine and what is known of it. ``complaint`` is None while it is sound."""

    def __init__(self, engine: Engine, uses: list[str]) -> None:
        self.engine = engine
        self.uses = uses
        self.complaint: str | None = None
        self.asked_at_s: float | None = None
        self.late = False
        self.asking: asyncio.Task[None] | None = None
        self._restarts = 0

    @property
    def shaken(self) -> bool:
        """Whether it gave reason to ask at once, and not when its turn comes."""
        return self.complaint is not None or self.engine.failing

    def due(self, interval_s: float) -> bool:
        """Whether its canary is to be asked now."""
        restarts, self._restarts = self._restarts, _restarts(self.engine)
        if restarts != self._restarts or self.asked_at_s is None:
            self.asked_at_s = None
            return True
        return time.monotonic() - self.asked_at_s > (RETRY_S if self.shaken else interval_s)

    def forget(self) -> None:
        """Know nothing of it any more."""
        self.complaint, self.asked_at_s, self.late = None, None, False


class Watch:
    """The canaries of the engines of one service, asked every ``interval_s`` seconds while the block runs."""

    def __init__(
        self, engines: Mapping[str, Engine], canaries: Canaries, *, interval_s: float, telemetry: Telemetry
    ) -> None:
        self._canaries = canaries
        self._interval_s = interval_s
        self._telemetry = telemetry
        self._patients: dict[int, _Patient] = {}
        for use, engine in engines.items():
            self._patients.setdefault(id(engine), _Patient(engine, [])).uses.append(use)
        self._rounds: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._rounds = asyncio.create_task(self._go_round(), name="canaries")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [self._rounds, *(patient.asking for patient in self._patients.values())]
        for task in tasks:
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def complaints(self) -> dict[str, str | None]:
        """What is wrong with each model, by what it is for; None where it can answer, as it once did."""
        told = await asyncio.gather(*(self._examined(patient) for patient in self._patients.values()))
        return {
            use: complaint
            for patient, complaint in zip(self._patients.values(), told, strict=True)
            for use in patient.uses
        }

    async def _go_round(self) -> None:
        while True:
            await self.complaints()
            await asyncio.sleep(self._interval_s)

    async def _examined(self, patient: _Patient) -> str | None:
        if not await patient.engine.ready():
            patient.forget()
            self._tell(patient, "it does not answer")
            return _outage(patient.engine)
        if patient.asking is None and patient.due(self._interval_s):
            patient.asking = asyncio.create_task(self._ask(patient))
        if patient.asking is not None and (patient.shaken or patient.asked_at_s is None):
            await asyncio.wait({patient.asking}, timeout=WAIT_S)
        if patient.asked_at_s is None:
            return "its canary has not been answered yet"
        return patient.complaint

    async def _ask(self, patient: _Patient) -> None:
        try:
            with calling(ITSELF):
                complaint = await self._answered(patient)
        finally:
            patient.asking = None
        if complaint != patient.complaint:
            level = log.info if complaint is None else log.error
            level("canary", engine=patient.uses, complaint=complaint)
        patient.complaint, patient.asked_at_s = complaint, time.monotonic()
        self._tell(patient, complaint)

    async def _answered(self, patient: _Patient) -> str | None:
        try:
            return await self._compared(patient)
        except AnnotationFailed as error:
            if error.kind in UNASKABLE:
                return None
            first_time_late = error.kind in BUSY and not patient.late
            patient.late = error.kind in BUSY
            return patient.complaint if first_time_late else f"it failed on its canary: {error.detail}"
        except OSError as error:
            return f"its canary's answer cannot be stored: {error}"
        except Exception as error:  # a defect must not end the rounds
            log.exception("canary_crashed", engine=patient.uses)
            return f"its canary could not be asked ({type(error).__name__}); see the service's log"

    async def _compared(self, patient: _Patient) -> str | None:
        model = patient.engine.model
        seen = await answers(patient.engine, CANARY, Deadline.after(ANSWER_TIMEOUT_S))
        patient.late = False
        known = self._canaries.known(model)
        new = {verb: answer for verb, answer in seen.items() if known is None or verb not in known.answers}
        if new:
            await asyncio.to_thread(self._canaries.remember, model, new)
            log.info("canary_recorded", engine=patient.uses, model=model.name, answers=sorted(new))
        return None if known is None else difference(model, known, seen)

    def _tell(self, patient: _Patient, complaint: str | None) -> None:
        for use in patient.uses:
            self._telemetry.canary_sound.labels(use).set(complaint is None)


def _restarts(engine: Engine) -> int:
    return engine.restarts if isinstance(engine, Tended) else 0


def _outage(engine: Engine) -> str:
    outage = engine.outage if isinstance(engine, Tended) else None
    return "it does not answer" if outage is None else outage.detail
