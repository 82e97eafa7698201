"""The store in Redis, against a real one that is killed, frozen, filled and fed with rubbish."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

import pytest

from assayd.settings import CacheSettings
from assayd.stores.redis import RedisStore
from assayd.telemetry import Telemetry

from ..redis_server import RedisServer

TIMEOUT_S = 0.25
# What a machine under load may add to a wait; waits one after the other would take longer still.
GRACE_S = 1.0

Opener = Callable[..., AbstractAsyncContextManager[Any]]


@contextmanager
def at_most(limit_s: float) -> Iterator[None]:
    """The block takes no longer."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < limit_s + GRACE_S


async def ready_again(store: RedisStore, give_up_s: float = 15.0) -> None:
    """Wait until the store says it is ready."""
    give_up_at = time.monotonic() + give_up_s
    while not await store.ready():
        assert time.monotonic() < give_up_at, "it did not recover"
        await asyncio.sleep(0.05)


async def test_it_remembers_for_others(redis_server: RedisServer, open_store: Opener) -> None:
    """What one service puts another one gets, large or small, compressed where that pays."""
    large, small = b"the same words again " * 1000, b"\x00\xff"
    async with open_store(redis_server.url) as one, open_store(redis_server.url) as other:
        await one.store.put("large", large)
        await one.store.put("small", small)
        assert await other.store.get("large") == large
        assert await other.store.get("small") == small
        assert await other.store.get("unknown") is None
        assert (one.errors, other.errors) == ({}, {})
        assert await one.store.ready()
    stored = {name.rsplit(b":", 1)[-1]: len(redis_server.client.get(name)) for name in redis_server.names()}
    assert stored[b"small"] < 20
    assert stored[b"large"] < 200


async def test_it_forgets_with_age(redis_server: RedisServer, open_store: Opener) -> None:
    """An entry lives for ``ttl_s``, to the millisecond."""
    async with open_store(redis_server.url, ttl_s=0.3) as opened:
        await opened.store.put("a", b"1")
        (name,) = redis_server.names()
        assert 0 < redis_server.client.pttl(name) <= 300
        assert await opened.store.get("a") == b"1"
        await asyncio.sleep(0.35)
        assert await opened.store.get("a") is None


async def test_names_tell_format_version_and_code(redis_server: RedisServer, open_store: Opener) -> None:
    """What another release wrote under the same key is never read."""
    async with open_store(redis_server.url) as opened:
        await opened.store.put("a", b"1")
        (name,) = redis_server.names()
        prefix, sealing, release, key = name.decode().split(":")
        version, _, code = release.partition("-")
        assert (prefix, sealing, key, len(code)) == ("assay", "1", "a", 16)
        assert version.count(".") == 2
        redis_server.client.rename(name, f"assay:1:{version}-{'0' * 16}:a")
        assert await opened.store.get("a") is None
        assert opened.errors == {}


async def test_a_value_that_is_too_large_is_not_put(redis_server: RedisServer, open_store: Opener) -> None:
    """Its size before compression counts; the store stays ready."""
    async with open_store(redis_server.url, max_value_mb=0.001) as opened:
        await opened.store.put("fits", b"x" * 1000)
        await opened.store.put("large", b"x" * 1001)
        assert len(redis_server.names()) == 1
        assert opened.errors == {("put", "too_large"): 1}
        assert await opened.store.ready()


async def test_calls_of_one_moment_are_few_commands(redis_server: RedisServer, open_store: Opener) -> None:
    """A thousand look-ups, each with its own value, are 32 commands."""
    async with open_store(redis_server.url) as opened:
        keys = [f"k{number}" for number in range(1000)]
        await asyncio.gather(*(opened.store.put(key, key.encode()) for key in keys))
        redis_server.client.config_resetstat()
        found = await asyncio.gather(*(opened.store.get(key) for key in keys))
        assert found == [key.encode() for key in keys]
        assert redis_server.client.info("commandstats")["cmdstat_mget"]["calls"] == 32


async def test_much_at_once_is_not_slow(redis_server: RedisServer, open_store: Opener) -> None:
    """Four thousand large values take longer than the timeout, each command does not."""
    rng = random.Random(0)
    value = rng.randbytes(15_000)
    async with open_store(redis_server.url, timeout_s=TIMEOUT_S) as opened:
        await asyncio.gather(*(opened.store.put(f"k{number}", value) for number in range(4000)))
        found = await asyncio.gather(*(opened.store.get(f"k{number}") for number in range(4000)))
        assert opened.errors == {}
        assert found == [value] * 4000


async def test_cancelled_callers_never_mix_up_values(redis_server: RedisServer, open_store: Opener) -> None:
    """Callers that leave at any moment, and time-outs in between, hand nobody a neighbour's value."""
    rng = random.Random(0)
    async with open_store(redis_server.url, timeout_s=0.02) as opened:

        async def ask(number: int) -> None:
            value = await opened.store.get(f"k{number}")
            assert value in (None, f"{number}".encode() * 300)

        await asyncio.gather(*(opened.store.put(f"k{n}", f"{n}".encode() * 300) for n in range(300)))
        finished = 0
        for turn in range(100):
            if turn % 25 == 24:
                redis_server.freeze()
            asked = [asyncio.create_task(ask(rng.randrange(300))) for _ in range(20)]
            await asyncio.sleep(rng.random() * 0.004)
            for task in rng.sample(asked, 10):
                task.cancel()
            done = await asyncio.gather(*asked, return_exceptions=True)
            assert not [outcome for outcome in done if isinstance(outcome, AssertionError)]
            finished += done.count(None)
            redis_server.thaw()
        assert finished > 500


async def test_dead_from_the_start(redis_server: RedisServer, open_store: Opener) -> None:
    """A service opens without its Redis, goes on without it, and uses it once it is there."""
    redis_server.kill()
    async with open_store(redis_server.url) as opened:
        with at_most(TIMEOUT_S):
            assert await opened.store.get("a") is None
            await opened.store.put("a", b"1")
        assert not await opened.store.ready()
        assert opened.errors == {("get", "connection"): 1}
        redis_server.start()
        await ready_again(opened.store)
        await opened.store.put("a", b"1")
        assert await opened.store.get("a") == b"1"


async def test_killed_and_started_again(redis_server: RedisServer, open_store: Opener) -> None:
    """Nobody is told; afterwards it is empty, and remembers again."""
    async with open_store(redis_server.url) as opened:
        await opened.store.put("a", b"1")
        redis_server.kill()
        with at_most(TIMEOUT_S):
            assert await opened.store.get("a") is None
        redis_server.start()
        await ready_again(opened.store)
        assert await opened.store.get("a") is None
        await opened.store.put("a", b"2")
        assert await opened.store.get("a") == b"2"


async def test_a_restart_between_two_calls_costs_nothing(
    redis_server: RedisServer, open_store: Opener
) -> None:
    """A connection that died while it was idle is made anew within the call."""
    async with open_store(redis_server.url) as opened:
        await opened.store.put("a", b"1")
        redis_server.kill()
        redis_server.start()
        await opened.store.put("a", b"2")
        assert await opened.store.get("a") == b"2"
        assert opened.errors == {}


async def test_frozen(redis_server: RedisServer, open_store: Opener) -> None:
    """All look-ups of one moment wait once, later ones not at all; it is used again when it thaws."""
    async with open_store(redis_server.url, timeout_s=TIMEOUT_S) as opened:
        await opened.store.put("a", b"1")
        redis_server.freeze()
        with at_most(TIMEOUT_S):
            found = await asyncio.gather(*(opened.store.get("a") for _ in range(1000)))
        assert found == [None] * 1000
        with at_most(0):
            for _ in range(100):
                await opened.store.get("a")
                await opened.store.put("b", b"2")
            assert not await opened.store.ready()
        assert {reason for _, reason in opened.errors} == {"timeout"}
        redis_server.thaw()
        await ready_again(opened.store)
        assert await opened.store.get("a") == b"1"


async def test_closing_does_not_wait_for_a_frozen_one(redis_server: RedisServer, open_store: Opener) -> None:
    """The service can stop."""
    async with open_store(redis_server.url, timeout_s=TIMEOUT_S) as opened:
        await opened.store.put("a", b"1")
        redis_server.freeze()
        await opened.store.get("a")
        started = time.monotonic()
    assert time.monotonic() - started < TIMEOUT_S + GRACE_S


async def test_the_pauses_grow(redis_server: RedisServer, open_store: Opener) -> None:
    """While it is gone it is asked after 1 s and 2 s more: twice by each of three in three and a half seconds."""
    redis_server.kill()
    async with open_store(redis_server.url) as opened:
        await opened.store.get("a")
        await asyncio.sleep(3.5)
        assert opened.errors[("probe", "connection")] == 6


async def test_full(redis_server: RedisServer, open_store: Opener) -> None:
    """It takes nothing and still gives what it has."""
    async with open_store(redis_server.url) as opened:
        await opened.store.put("old", b"1")
        redis_server.fill()
        for key in ("new", "newer"):
            await opened.store.put(key, b"2")
        assert await opened.store.get("old") == b"1"
        assert not await opened.store.ready()
        assert opened.errors == {("put", "full"): 1}
        redis_server.empty_out()
        await ready_again(opened.store)
        await opened.store.put("new", b"2")
        assert await opened.store.get("new") == b"2"


async def test_a_full_one_is_noticed_before_anything_is_put(
    redis_server: RedisServer, open_store: Opener
) -> None:
    """Readiness asks for both directions."""
    async with open_store(redis_server.url) as opened:
        redis_server.fill()
        assert not await opened.store.ready()
        assert opened.errors == {("probe", "full"): 1}


async def test_flushed(redis_server: RedisServer, open_store: Opener) -> None:
    """It is a miss, and no error."""
    async with open_store(redis_server.url) as opened:
        await opened.store.put("a", b"1")
        redis_server.client.flushall()
        assert await opened.store.get("a") is None
        assert await opened.store.ready()
        assert opened.errors == {}


async def test_rubbish_under_a_real_name(redis_server: RedisServer, open_store: Opener) -> None:
    """Any other bytes, and any type but a string, are a miss; the next put mends it."""
    rng = random.Random(0)
    for value in (b"short", b"many words " * 100):
        async with open_store(redis_server.url) as opened:
            await opened.store.put("a", value)
            await opened.store.put("b", value)
            mine, other = sorted(redis_server.names())
            sealed = redis_server.client.get(mine)
            flipped = [bytearray(sealed) for _ in range(50)]
            for copy in flipped:
                copy[rng.randrange(len(copy))] ^= 1 << rng.randrange(8)
            cut = [sealed[: rng.randrange(len(sealed))] for _ in range(20)]
            noise = [rng.randbytes(rng.randrange(1, 100)) for _ in range(20)]
            rubbish = [*map(bytes, flipped), *cut, *noise, sealed + b"x", redis_server.client.get(other)]
            for damaged in rubbish:
                redis_server.client.set(mine, damaged)
                assert await opened.store.get("a") is None
            assert opened.errors == {("get", "rubbish"): len(rubbish)}
            redis_server.client.delete(mine)
            redis_server.client.lpush(mine, "a list")
            assert await opened.store.get("a") is None
            await opened.store.put("a", value)
            assert await opened.store.get("a") == value
            assert await opened.store.ready()


@pytest.mark.parametrize(
    "reply",
    [
        b"hello\r\n",
        b"+OK\r\n",
        b":1\r\n",
        b"$5\r\nhello\r\n",
        b"*1\r\n:1\r\n",
        b"*9\r\n$1\r\nx\r\n",
        b"$x\r\n",
        b"\xff\xfe\x00\r\n",
        b"",
    ],
)
async def test_who_listens_there_is_no_redis(open_store: Opener, reply: bytes) -> None:
    """Whatever comes back it is a miss within the timeout, and the store is not ready."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(reply)
            await writer.drain()
        writer.close()

    impostor = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = impostor.sockets[0].getsockname()[1]
    async with open_store(f"redis://127.0.0.1:{port}", timeout_s=TIMEOUT_S) as opened:
        with at_most(TIMEOUT_S):
            assert await opened.store.get("a") is None
        with at_most(TIMEOUT_S):
            await opened.store.put("a", b"1")
        assert sum(opened.errors.values()) >= 1
        assert not await opened.store.ready()
    impostor.close()


async def test_a_wrong_password(redis_server: RedisServer, open_store: Opener) -> None:
    """It is refused, and counted as that; the right one, from its own setting, is let in."""
    redis_server.client.config_set("requirepass", "hunter2")
    async with open_store(redis_server.url, password="hunter3") as opened:
        assert await opened.store.get("a") is None
        assert opened.errors == {("get", "refused"): 1}
    async with open_store(redis_server.url, password="hunter2") as opened:
        await opened.store.put("a", b"1")
        assert await opened.store.get("a") == b"1"


async def test_a_loop_that_stood_still_is_not_a_slow_redis(
    redis_server: RedisServer, open_store: Opener
) -> None:
    """Work in the event loop that takes longer than the timeout, at any point of a look-up, is no time-out."""
    async with open_store(redis_server.url, timeout_s=TIMEOUT_S) as opened:
        await opened.store.put("a", b"1")
        for turns in range(12):
            asked = asyncio.create_task(opened.store.get("a"))
            for _ in range(turns):
                await asyncio.sleep(0)
            time.sleep(0.3)  # noqa: ASYNC251 - the point
            assert await asked == b"1", turns
        assert opened.errors == {}


@pytest.mark.parametrize("url", ["redis://127.0.0.1:port", "rediss://127.0.0.1:99999999"])
async def test_a_wrong_url_is_said_at_once(url: str) -> None:
    """Not at the first call."""
    with pytest.raises(ValueError, match=r"[Pp]ort"):
        await RedisStore.open(CacheSettings(url=url), Telemetry())
