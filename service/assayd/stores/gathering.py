"""Calls of one moment become one command: a request of four thousand rollouts is not four thousand round trips."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Reply = TypeVar("Reply")


class Gathered(Generic[Item, Reply]):
    """Hands all items of one turn of the event loop to ``command``: at most ``limit`` each, ``at_once`` side by side.

    ``command`` gives one reply per item, in order, and does not raise. What waits for its turn takes in who comes.
    """

    def __init__(
        self, command: Callable[[Sequence[Item]], Awaitable[Sequence[Reply]]], *, limit: int, at_once: int
    ) -> None:
        self._command = command
        self._limit = limit
        self._turn = asyncio.Semaphore(at_once)
        self._items: list[Item] = []
        self._replies: asyncio.Task[Sequence[Reply]] | None = None

    async def __call__(self, item: Item) -> Reply:
        """The reply to ``item``. A caller that is cancelled leaves its neighbours theirs."""
        if self._replies is None or len(self._items) >= self._limit:
            self._items = []
            # The task has its first turn behind whoever is about to join.
            self._replies = asyncio.create_task(self._run(self._items))
        items, replies = self._items, self._replies
        index = len(items)
        items.append(item)
        return (await asyncio.shield(replies))[index]

    async def _run(self, items: list[Item]) -> Sequence[Reply]:
        async with self._turn:
            if items is self._items:
                self._replies = None
            return await self._command(items)
