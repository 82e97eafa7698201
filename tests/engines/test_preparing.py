"""Texts are got ready by a few hands, whoever gives up waiting for them."""

import asyncio
import threading

from assayd.engines.preparing import HANDS, prepared


class Cutting:
    """Work that lasts until ``over``; ``most`` is how much of it there was at once."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.begun = self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        """Do one piece."""
        with self._lock:
            self.begun += 1
            self._now += 1
            self.most = max(self.most, self._now)
        self.over.wait(timeout=10)
        with self._lock:
            self._now -= 1
        return "cut"


async def test_work_that_was_given_up_keeps_its_hand_until_it_is_done() -> None:
    """A thread cannot be called off: whoever waits behind it does not take the threads of everybody else."""
    cutting = Cutting()
    for _ in range(3):
        calls = [asyncio.create_task(prepared(1, cutting)) for _ in range(2 * HANDS)]
        await asyncio.sleep(0.2)
        for call in calls:
            call.cancel()
        outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 1)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    last = asyncio.create_task(prepared(1, cutting))
    await asyncio.sleep(0.2)
    cutting.over.set()
    assert await last == "cut"
    assert cutting.most == HANDS
    # What nobody waited for any more when its turn came was never begun.
    assert cutting.begun == HANDS + 1
