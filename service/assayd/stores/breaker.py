"""Keeps calls from waiting on what is dead, and finds out by itself when it is back."""

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

SHORTEST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 10.0

log = structlog.get_logger()


class Breaker:
    """Open from the first failure until ``probe`` says True.

    The probe runs in the background, after a pause that doubles from one try to the next: no call ever pays for
    one. What fails again soon after it came back is given the longer pause at once.
    """

    def __init__(self, operation: str, probe: Callable[[], Awaitable[bool]]) -> None:
        self._operation = operation
        self._probe = probe
        self._pause_s = SHORTEST_PAUSE_S
        self._closed_at_s = -LONGEST_PAUSE_S
        self._recovery: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """Whether calls are to go on without."""
        return self._recovery is not None

    def trip(self, reason: str) -> None:
        """Open, unless it is open already."""
        if self._recovery is not None:
            return
        log.warning("cache_left_aside", operation=self._operation, reason=reason)
        if time.monotonic() - self._closed_at_s > LONGEST_PAUSE_S:
            self._pause_s = SHORTEST_PAUSE_S
        # Not in the caller's context: what is logged later is no part of the call that failed.
        self._recovery = asyncio.create_task(self._recover(), context=contextvars.Context())

    async def stop(self) -> None:
        """Try no more."""
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.wait((self._recovery,))

    async def _recover(self) -> None:
        while True:
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            if await self._probe():
                break
        self._recovery = None
        self._closed_at_s = time.monotonic()
        log.info("cache_used_again", operation=self._operation)
