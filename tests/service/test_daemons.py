"""Threads for work that may hang."""

import asyncio
import contextvars
import subprocess
import sys
import threading
import time

import pytest

from assayd.daemons import Daemons

from ..crowds import Crowd

HANGS = """
import asyncio, time
from assayd.daemons import Daemons
async def main():
    hanging = Daemons(2, "test").begin(time.sleep, 600)
    try:
        await asyncio.wait_for(hanging, 0.2)
    except TimeoutError:
        print("left behind")
asyncio.run(main())
"""


async def test_it_is_a_call_in_another_thread() -> None:
    """Its result or its error comes back; it sees the caller's context."""
    who = contextvars.ContextVar("who", default="nobody")
    who.set("atlas")
    daemons = Daemons(2, "test")
    assert await daemons.begin(lambda: (who.get(), threading.current_thread().name)) == ("atlas", "test")
    with pytest.raises(ZeroDivisionError):
        await daemons.begin(lambda: 1 / 0)


async def test_there_are_never_more_than_was_said_and_none_when_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """All work is done, a few at a time; then the threads end, and others come for what comes later."""
    monkeypatch.setattr("assayd.daemons.IDLE_S", 0.2)
    daemons, crowd = Daemons(3, "counted"), Crowd()

    def work(number: int) -> int:
        with crowd:
            time.sleep(0.002)
        return number

    for _ in range(2):
        assert await asyncio.gather(*(daemons.begin(work, number) for number in range(50))) == list(range(50))
        while any(thread.name == "counted" for thread in threading.enumerate()):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.05)
    assert crowd.most == 3


async def test_what_is_called_off_before_its_turn_is_never_begun() -> None:
    """Nobody waits for it any more."""
    daemons, over, begun = Daemons(1, "test"), threading.Event(), []
    first = daemons.begin(over.wait, 10)
    second = daemons.begin(begun.append, 2)
    second.cancel()
    await asyncio.sleep(0)  # the event loop tells the threads in its next round
    over.set()
    assert await first
    await daemons.begin(begun.append, 3)
    assert begun == [3]


def test_a_process_ends_though_one_hangs() -> None:
    """As a service has to that was asked for a tokenizer on a share that does not answer."""
    run = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout == "left behind\n"
