"""One clock over whatever is asked of another machine."""

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

T = TypeVar("T")

_SLICES: Final = 2


async def within(command: Awaitable[T], timeout_s: float) -> T:
    """What ``command`` gives within the time; raises ``TimeoutError`` and cancels it otherwise.

    The time is waited in two halves: when the event loop itself stood still (a large body, a forward pass), the clock
    of only one has run out before the reply that lies there could be read.
    """
    task = asyncio.ensure_future(command)
    try:
        for _ in range(_SLICES):
            done, _pending = await asyncio.wait((task,), timeout=timeout_s / _SLICES)
            if done:
                return task.result()
        raise TimeoutError(f"no reply within {timeout_s} s")
    finally:
        # A client closes the connection of a cancelled command: its late reply must not answer another.
        task.cancel()
