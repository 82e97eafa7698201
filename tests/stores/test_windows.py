"""Sliding windows: the arithmetic, and Redis when it is there and when it is not."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assayd.admission.tenant_file import add_tenant
from assayd.app import create_app
from assayd.settings import CacheSettings, EngineName, Settings
from assayd.stores.windows import Level, Window, Windows
from assayd.telemetry import Telemetry

from ..processes import wait_until
from ..redis_server import RedisServer

FAKE = {"engine": EngineName.FAKE}
WINDOW = Window("tokens", 100, 1000)


@asynccontextmanager
async def opened(url: str = "memory://") -> AsyncIterator[Windows]:
    """Windows of one service."""
    windows = Windows.open(CacheSettings(url=url), Telemetry())
    try:
        yield windows
    finally:
        await windows.close()


counts = st.integers(0, 1000)


@given(counts, counts, st.floats(0, 1), st.integers(1, 1000), st.integers(1, 1000))
def test_the_wait_is_long_enough_and_not_longer(
    previous: int, current: int, left: float, amount: int, cost: int
) -> None:
    """After it the cost fits; a moment before it does not."""
    window = Window("tokens", amount, 60)
    cost = min(cost, amount)
    level = Level(previous, current, left * 60)
    wait_s = level.wait_s(window, cost)
    assert 0 <= wait_s <= 120
    assert level.used(60, wait_s) + cost <= amount + 1e-6
    if wait_s > 0.01:
        assert level.used(60, wait_s - 0.01) + cost > amount - 1e-6


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 60)), max_size=30))
def test_no_more_is_let_in_than_fits(steps: list[tuple[bool, int]]) -> None:
    """Taken and given back in any order, what stands in a window is what was taken, and never more than its amount."""

    async def play() -> None:
        async with opened() as windows:
            standing = 0
            for takes, cost in steps:
                if takes:
                    fits = standing + cost <= WINDOW.amount
                    assert await windows.take(WINDOW, "atlas", cost) is fits
                    standing += cost if fits else 0
                else:
                    await windows.give_back(WINDOW, "atlas", cost)
                    standing = max(standing - cost, 0)
                assert (await windows.level(WINDOW, "atlas")).used(WINDOW.per_s) == standing

    asyncio.run(play())


async def test_two_services_spend_from_one_quota(redis_server: RedisServer) -> None:
    """And give back into it; another tenant's is another one."""
    async with opened(redis_server.url) as one, opened(redis_server.url) as other:
        assert await one.take(WINDOW, "atlas", 60)
        assert not await other.take(WINDOW, "atlas", 60)
        assert await other.take(WINDOW, "borea", 60)
        await one.give_back(WINDOW, "atlas", 50)
        assert await other.take(WINDOW, "atlas", 60)
        assert (await one.level(WINDOW, "atlas")).current == 70
        assert all(name.startswith(b"assay:quotas") for name in redis_server.names())


async def test_redis_gone_is_memory_that_knows_what_was_spent(redis_server: RedisServer) -> None:
    """Killed, frozen, full: the windows go on from what this process has counted, and Redis is used again later."""
    async with opened(redis_server.url) as windows:
        assert await windows.take(WINDOW, "atlas", 60)
        for harm, mend in (
            (redis_server.kill, redis_server.start),
            (redis_server.freeze, redis_server.thaw),
            (redis_server.fill, redis_server.empty_out),
        ):
            harm()
            started = time.monotonic()
            assert not await windows.take(WINDOW, "atlas", 60)
            assert await windows.take(WINDOW, "atlas", 5)
            assert time.monotonic() - started < 3
            mend()
            give_up_at = time.monotonic() + 30
            while windows.is_alone:
                assert time.monotonic() < give_up_at, "Redis is not used again"
                await asyncio.sleep(0.1)


def test_quotas_outlive_redis_through_the_front_door(
    serve_app: Any, redis_server: RedisServer, tmp_path: Any
) -> None:
    """A call is never failed for it: 200 or 429 as before, /readyz says `degraded`, and the metric says memory."""
    file = tmp_path / "tenants.toml"
    key = add_tenant(file, "atlas", {"quotas": [{"requests": 3, "per_s": 1000}], "operator": True})
    engines = dict.fromkeys(("critic", "rewriter", "segment", "sequence"), FAKE)
    settings = Settings(**engines, cache={"url": redis_server.url}, tenants={"path": file})
    headers = {"Authorization": f"Bearer {key}"}

    def call(client: httpx.Client) -> int:
        body = {"task": "relc-toxicity", "rollouts": [{"completion": {"text": "you rat"}}]}
        return client.post("/score/token", json=body).status_code

    def shared(client: httpx.Client) -> bool:
        assert client.get("/readyz").status_code == 200
        return "assay_quotas_shared 1.0" in client.get("/metrics").text

    with (
        serve_app(create_app(settings)) as one,
        serve_app(create_app(settings)) as other,
        httpx.Client(base_url=one, headers=headers, timeout=60) as first,
        httpx.Client(base_url=other, headers=headers, timeout=60) as second,
    ):
        assert [call(first), call(second)] == [200, 200]
        assert shared(first)
        redis_server.kill()
        assert [call(first), call(first), call(first)] == [200, 200, 429]
        assert not shared(first)
        assert first.get("/readyz").json()["parts"]["quotas"] is False
        redis_server.start()
        wait_until(lambda: first.get("/readyz").json()["status"] == "ok", "it did not recover", 30)
        assert shared(first)


@pytest.mark.parametrize("scheme", ["redis", "unix"])
async def test_a_redis_that_was_never_there_is_memory(scheme: str) -> None:
    """The service starts, and counts."""
    url = {"redis": "redis://127.0.0.1:9/0", "unix": "unix:///nowhere/redis.sock"}[scheme]
    async with opened(url) as windows:
        assert await windows.take(WINDOW, "atlas", 60)
        assert not await windows.take(WINDOW, "atlas", 60)
        assert not await windows.ready()
