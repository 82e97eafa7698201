"""What every engine here is to its host: a model that one thread owns, behind a line."""

from typing import Protocol

from ...domain.ports import Queue


class _Served(Protocol):
    """The line and the thread, as ``Batcher`` and ``Reader`` have them."""

    @property
    def line(self) -> Queue: ...

    @property
    def alive(self) -> bool: ...

    @property
    def failing(self) -> bool: ...

    async def close(self) -> None: ...


class Queued:
    """An engine whose work is done by ``served``."""

    def __init__(self, served: _Served) -> None:
        self._served = served

    @property
    def line(self) -> Queue:
        """Those who wait for it, and those it works for."""
        return self._served.line

    async def ready(self) -> bool:
        """Whether the thread that owns the model lives."""
        return self._served.alive

    @property
    def failing(self) -> bool:
        """Whether its last run failed."""
        return self._served.failing

    async def close(self) -> None:
        """Fail what is under way and end the thread; safe to call twice."""
        await self._served.close()
