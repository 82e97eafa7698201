"""Gets texts ready for models, off the event loop: a few at a time, and each tenant in its turn.

To cut a text into tokens is work for the interpreter, of which there is one: many threads at it would only keep each
other, and the event loop, from running. So few are, and whoever brings thousands of texts waits between them.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from .line import Line
from .turnstile import Turnstile

P = ParamSpec("P")
T = TypeVar("T")

CHARACTERS_PER_TOKEN: Final = 4
"""As a rule of thumb."""
HANDS: Final = min(4, max(2, len(os.sched_getaffinity(0)) // 2))

_turnstiles: WeakKeyDictionary[asyncio.AbstractEventLoop, Turnstile] = WeakKeyDictionary()


def hands() -> Turnstile:
    """Those of the running event loop."""
    return _turnstiles.setdefault(
        asyncio.get_running_loop(), Turnstile(HANDS, Line(door=False, name="prepare"))
    )


async def prepared(tokens: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``function`` gives, called in a thread once it is the caller's turn; ``tokens`` is how much it has to do.

    Who gives up waiting leaves the line at once; a thread that has begun cannot be called off, and keeps its turn.
    """
    begun = False

    async def work() -> T:
        nonlocal begun
        async with hands().turn(tokens):
            begun = True
            return await asyncio.to_thread(function, *args, **kwargs)

    task = asyncio.create_task(work())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not begun:
            task.cancel()
        raise


def estimated_tokens(text: str) -> int:
    """What a text may come to, before anybody has cut it."""
    return len(text) // CHARACTERS_PER_TOKEN + 1
