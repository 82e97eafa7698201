"""Single flight: identical work that is under way is waited for, not begun again."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    begun_by: object
    waiters: int = 0


class Flights(Generic[T]):
    """Computations under way, by key. One that nobody waits for any more is cancelled."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[T]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._flights

    def begun_by(self, key: str) -> object:
        """Who began the flight named ``key``, as he called himself; None where there is none."""
        flight = self._flights.get(key)
        return None if flight is None else flight.begun_by

    async def join(self, key: str, start: Callable[[], Awaitable[T]], *, by: object = None) -> T:
        """The outcome of the flight named ``key``; if there is none, it is begun with ``start``, ``by`` the caller."""
        flight = self._flights.get(key) or self._begin(key, start, by)
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if flight.waiters == 0:
                # Removed before it is called off, so that a new caller never joins a dying flight.
                self._land(key, flight)
                flight.task.cancel()

    def _begin(self, key: str, start: Callable[[], Awaitable[T]], by: object) -> _Flight[T]:
        flight = _Flight(asyncio.ensure_future(_run(start)), by)
        self._flights[key] = flight
        flight.task.add_done_callback(lambda task: self._finished(key, flight, task))
        return flight

    def _finished(self, key: str, flight: _Flight[T], task: asyncio.Task[T]) -> None:
        self._land(key, flight)
        if not task.cancelled():
            task.exception()  # marks it as seen: the waiters, if any are left, raise it themselves

    def _land(self, key: str, flight: _Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


async def _run(start: Callable[[], Awaitable[T]]) -> T:
    return await start()
