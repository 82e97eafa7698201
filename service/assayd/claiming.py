"""Single flight among services: what another one is about to judge is waited for, not judged again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from .domain.ports import Deadline
from .domain.storage import Claimed, Claims
from .telemetry import ClaimOutcome

T = TypeVar("T")


async def once(
    claims: Claims,
    key: str,
    deadline: Deadline,
    *,
    recall: Callable[[], Awaitable[T | None]],
    work: Callable[[], Awaitable[T]],
    count: Callable[[ClaimOutcome], None],
) -> T:
    """What ``recall`` finds or ``work`` makes, worked on by one of all services at a time.

    Half the time that is left is spent on waiting for others at most: the rest should do for working alone.
    """
    patience = Deadline.after(deadline.remaining_s / 2)
    waited = False
    while True:
        claimed = await claims.claim(key)
        if claimed is Claimed.OURS:
            count(ClaimOutcome.TAKEN_OVER if waited else ClaimOutcome.WORKED)
            try:
                return await work()
            finally:
                claims.release(key)
        if claimed is Claimed.THEIRS:
            waited = True
            try:
                async with asyncio.timeout(max(patience.remaining_s, 0.0)):
                    await claims.released(key)
            except TimeoutError:
                claimed = Claimed.UNKNOWN
        found = None if claimed is Claimed.UNKNOWN else await recall()
        if found is not None:
            count(ClaimOutcome.SHARED_ACROSS)
            return found
        if claimed is not Claimed.THEIRS:
            # Nobody can tell, or what was done cannot be read.
            count(ClaimOutcome.ALONE)
            return await work()
