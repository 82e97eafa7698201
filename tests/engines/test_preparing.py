"""Texts are got ready by a few hands, whoever gives up waiting for them."""

import asyncio
import threading

from assayd.engines.preparing import HANDS, prepared

from ..crowds import Crowd


async def test_work_that_was_given_up_keeps_its_hand_until_it_is_done() -> None:
    """A thread cannot be called off: whoever waits behind it does not take the threads of everybody else."""
    over, crowd = threading.Event(), Crowd()

    def cut() -> str:
        with crowd:
            over.wait(timeout=10)
        return "cut"

    for _ in range(3):
        calls = [asyncio.create_task(prepared(1, cut)) for _ in range(2 * HANDS)]
        await asyncio.sleep(0.2)
        for call in calls:
            call.cancel()
        outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 1)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    last = asyncio.create_task(prepared(1, cut))
    await asyncio.sleep(0.2)
    over.set()
    assert await last == "cut"
    assert crowd.most == HANDS
    # What nobody waited for any more when its turn came was never begun.
    assert crowd.came == HANDS + 1
