"""The default store: a dictionary of bounded size and age inside this process."""

import sys
from typing import Self

from cachetools import TTLCache

from ..settings import CacheSettings
from ..telemetry import Telemetry

_BYTES_PER_MB = 1_000_000
_ENTRY_BYTES = 520
"""Of a name and the books kept on it, as measured: a small annotation takes less than those."""


class MemoryStore:
    """Least recently used annotations go first when ``max_mb`` is reached."""

    claims: None = None

    def __init__(self, *, max_mb: float, ttl_s: float) -> None:
        self._entries: TTLCache[str, bytes] = TTLCache(
            maxsize=max_mb * _BYTES_PER_MB, ttl=ttl_s, getsizeof=_size_of
        )

    @classmethod
    async def open(cls, settings: CacheSettings, _: Telemetry) -> Self:
        """A store as the settings ask for it."""
        return cls(max_mb=settings.max_mb, ttl_s=settings.ttl_s)

    async def get(self, key: str) -> bytes | None:
        """What was put under ``key``, None when it is unknown or expired."""
        return self._entries.get(key)

    async def put(self, key: str, value: bytes) -> None:
        """Remember ``value``, unless it alone is larger than the whole store."""
        if _size_of(value) <= self._entries.maxsize:
            self._entries[key] = value

    async def ready(self) -> bool:
        """Always: it lives in this process."""
        return True

    async def close(self) -> None:
        """Forget everything."""
        self._entries.clear()


def _size_of(value: bytes) -> int:
    return sys.getsizeof(value) + _ENTRY_BYTES
