"""Rollouts that break an engine are kept apart, so that whoever sends them again costs nobody else anything.

An engine that fails on a rollout though it read nothing else has named the one to blame. An engine whose process dies
has not: all that were inside are suspects. Those that were inside twice are let in one at a time, and the one that is
inside at a third death is to blame.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from cachetools import TTLCache

from ..domain.failure import AnnotationFailed, Blame
from ..telemetry import QuarantineEvent, Telemetry

REMEMBERED: Final = 100_000
"""Rollouts of each sort; the ones not seen for longest are forgotten first."""
DEATHS_IN_COMPANY: Final = 2
"""So many times a rollout may be inside while its engine dies before it has to go alone."""

log = structlog.get_logger()


class Quarantine:
    """What is known of rollouts by their cache keys, each for ``kept_s`` seconds."""

    def __init__(self, kept_s: float, telemetry: Telemetry) -> None:
        self._kept_s = kept_s
        self._telemetry = telemetry
        self._kept: TTLCache[str, AnnotationFailed] = TTLCache(REMEMBERED, kept_s)
        self._deaths: TTLCache[str, int] = TTLCache(REMEMBERED, kept_s)
        self._alone = asyncio.Lock()

    @asynccontextmanager
    async def watching(self, key: str) -> AsyncIterator[None]:
        """Judge a rollout inside the block, and learn from how that ends.

        Raises ``AnnotationFailed`` (``engine``) at once for one that is in quarantine.
        """
        self._refuse(key)
        async with self._company(key):
            self._refuse(key)
            try:
                yield
            except AnnotationFailed as error:
                self._learn(key, error)
                raise
        self._deaths.pop(key, None)

    def _refuse(self, key: str) -> None:
        failure = self._kept.get(key)
        if failure is not None:
            self._telemetry.quarantine.labels(QuarantineEvent.REFUSED).inc()
            raise AnnotationFailed(failure.kind, failure.detail, rewards=failure.rewards)

    def _company(self, key: str) -> AbstractAsyncContextManager[object]:
        return self._alone if self._deaths.get(key, 0) >= DEATHS_IN_COMPANY else nullcontext()

    def _learn(self, key: str, error: AnnotationFailed) -> None:
        if error.blame is Blame.PRESENT:
            deaths = self._deaths.get(key, 0)
            self._deaths[key] = deaths + 1
            if deaths >= DEATHS_IN_COMPANY:
                self._keep(
                    key, error, "its engine died whenever it was inside, at last without another suspect"
                )
        elif error.blame is Blame.ALONE:
            self._keep(key, error, error.detail)

    def _keep(self, key: str, error: AnnotationFailed, why: str) -> None:
        until = datetime.now(UTC) + timedelta(seconds=self._kept_s)
        told = f"{why}; in quarantine until {until:%Y-%m-%dT%H:%M:%SZ}, not asked again before"
        self._kept[key] = error.restated(detail=told)
        self._telemetry.quarantine.labels(QuarantineEvent.KEPT).inc()
        log.warning("rollout_quarantined", key=key, kept_s=self._kept_s)
