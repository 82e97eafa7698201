"""The store in memory: bounded in size and age."""

import asyncio
import tracemalloc

import pytest

from assayd.stores.memory import MemoryStore


async def test_it_remembers_until_it_is_full() -> None:
    """The least recently used entry goes first, and an entry that can never fit is not kept."""
    store = MemoryStore(max_mb=0.0015, ttl_s=60)
    await store.put("a", b"a" * 150)
    await store.put("b", b"b" * 150)
    assert await store.get("a") == b"a" * 150
    await store.put("c", b"c" * 150)
    assert await store.get("b") is None
    assert await store.get("c") == b"c" * 150
    await store.put("huge", b"x" * 1000)
    assert await store.get("huge") is None


async def test_it_forgets_with_age() -> None:
    """An entry lives for ``ttl_s``."""
    store = MemoryStore(max_mb=1, ttl_s=0.02)
    await store.put("a", b"1")
    await asyncio.sleep(0.05)
    assert await store.get("a") is None


@pytest.mark.parametrize("size", [60, 1000])
async def test_it_takes_no_more_memory_than_it_may(size: int) -> None:
    """The books kept on many small entries are of its size too."""
    store = MemoryStore(max_mb=1, ttl_s=60)
    tracemalloc.start()
    for number in range(2_000_000 // size):
        await store.put(f"sha256:{number:064x}", bytes([number % 256]) * size)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 500_000 < taken < 1_100_000
