"""Single flight: what is shared, and what happens when callers leave."""

import asyncio

import pytest

from assayd.flights import Flights


async def test_one_computation_answers_all() -> None:
    """Callers of one key share one computation; another key has its own."""
    flights: Flights[str] = Flights()
    begun: list[str] = []

    def work(name: str):
        async def compute() -> str:
            begun.append(name)
            await asyncio.sleep(0.01)
            return name

        return compute

    answers = await asyncio.gather(*(flights.join(key, work(key)) for key in ("a", "a", "b", "a")))
    assert answers == ["a", "a", "b", "a"]
    assert sorted(begun) == ["a", "b"]
    assert "a" not in flights


async def test_an_error_reaches_every_caller_and_is_not_kept() -> None:
    """All who wait get the error; whoever comes later begins anew."""
    flights: Flights[str] = Flights()

    async def fail() -> str:
        await asyncio.sleep(0.01)
        raise LookupError("no")

    errors = await asyncio.gather(*(flights.join("k", fail) for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in errors] == [LookupError] * 3

    async def succeed() -> str:
        return "yes"

    assert await flights.join("k", succeed) == "yes"


async def test_a_flight_lives_as_long_as_somebody_waits() -> None:
    """One of two callers may leave; when both have left the computation is cancelled."""
    flights: Flights[str] = Flights()
    cancelled = asyncio.Event()
    release = asyncio.Event()

    async def compute() -> str:
        try:
            await release.wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return "done"

    first, second = (asyncio.ensure_future(flights.join("k", compute)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert not cancelled.is_set()
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    await asyncio.wait_for(cancelled.wait(), 1)
    assert "k" not in flights


async def test_a_dying_flight_is_not_joined() -> None:
    """Whoever comes after the last caller left gets a fresh computation, not the cancelled one."""
    flights: Flights[int] = Flights()
    runs = 0

    async def compute() -> int:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0.01)
        return runs

    leaver = asyncio.ensure_future(flights.join("k", compute))
    await asyncio.sleep(0)
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    assert await flights.join("k", compute) == 2
