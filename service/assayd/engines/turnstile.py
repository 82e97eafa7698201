"""Lets in to an engine that batches by itself as many requests as it works on; the others wait outside, in fair order.

What waits inside an engine can be put in no other order any more, so no more is let in than keeps it busy.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

from ..domain.failure import AnnotationFailed, FailureKind
from ..domain.ports import Deadline
from .line import Line

NEVER: Final = Deadline(math.inf)

_Place: TypeAlias = "asyncio.Future[None]"


class Turnstile:
    """For the callers of one event loop."""

    def __init__(self, max_inside: int, line: "Line[_Place] | None" = None) -> None:
        self.max_inside = max_inside
        self.line: Line[_Place] = line or Line()
        self._inside = 0

    @asynccontextmanager
    async def turn(self, tokens: int, deadline: Deadline = NEVER) -> AsyncIterator[None]:
        """Wait for a turn and hold it while the block runs; ``tokens`` is what it will cost, estimated.

        Raises ``AnnotationFailed``: ``overloaded`` at the door, ``past_deadline`` where its turn does not come in time.
        """
        place: _Place = asyncio.get_running_loop().create_future()
        self.line.enter(place, tokens, deadline)
        answered = False
        try:
            self._let_in()
            await _called(place, deadline)
            yield
            answered = True
        finally:
            # One that was called off in the moment in which its turn came is inside.
            self._inside -= place not in self.line.queue
            self.line.leave(place, answered=answered)
            self._let_in()

    def _let_in(self) -> None:
        while self._inside < self.max_inside and self.line.queue:
            place = self.line.queue.peek()
            self.line.take(place)
            self._inside += 1
            if not place.done():
                place.set_result(None)


async def _called(place: _Place, deadline: Deadline) -> None:
    try:
        async with asyncio.timeout(None if deadline is NEVER else deadline.remaining_s):
            await place
    except TimeoutError:
        raise AnnotationFailed(
            FailureKind.PAST_DEADLINE, "the deadline passed while the rollout waited for its turn"
        ) from None
