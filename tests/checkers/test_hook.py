"""A hook is somebody else's code: what it does with its time is not everybody's."""

import asyncio
import threading

import pytest

from assayd.checkers.hook import called
from assayd.domain.failure import AnnotationFailed, FailureKind
from assayd.domain.ports import Deadline
from assayd.engines.preparing import prepared

# More than there are threads to do things in.
MANY = 40


async def test_hooks_that_hang_keep_only_those_who_ask_them() -> None:
    """They are left behind at their deadlines, and texts are cut meanwhile."""
    over = threading.Event()

    def hang(text: str | None) -> bool:
        return over.wait(timeout=10)

    late = [called("a:b", hang, "x", deadline=Deadline.after(0.5)) for _ in range(MANY)]
    outcomes = asyncio.gather(*late, return_exceptions=True)
    await asyncio.sleep(0)
    try:
        assert await asyncio.wait_for(prepared(1, str.upper, "cut"), 5) == "CUT"
        told = await outcomes
        assert all(isinstance(one, AnnotationFailed) for one in told)
        assert {one.kind for one in told if isinstance(one, AnnotationFailed)} == {FailureKind.PAST_DEADLINE}
        with pytest.raises(AnnotationFailed):
            await called("a:b", hang, "x", deadline=Deadline.after(-1))
    finally:
        over.set()
    assert await asyncio.wait_for(prepared(1, str.upper, "cut"), 5) == "CUT"
