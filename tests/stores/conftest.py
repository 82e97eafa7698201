"""A real Redis, and stores on it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from assayd.settings import CacheSettings
from assayd.stores.redis import RedisStore
from assayd.telemetry import Telemetry

from ..redis_server import RedisServer


@contextmanager
def _running(folder: Path) -> Iterator[RedisServer]:
    with RedisServer(folder) as server, server.client:
        yield server
        server.kill()  # it may be frozen


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    with _running(tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def lasting_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that the tests of one file share."""
    with _running(tmp_path_factory.mktemp("redis")) as server:
        yield server


def errors(telemetry: Telemetry) -> dict[tuple[str, str], float]:
    """``assay_cache_errors_total`` by operation and reason."""
    samples = (sample for metric in telemetry.registry.collect() for sample in metric.samples)
    return {
        (sample.labels["operation"], sample.labels["reason"]): sample.value
        for sample in samples
        if sample.name == "assay_cache_errors_total"
    }


class Opened:
    """A store, and what it counted."""

    def __init__(self, store: RedisStore, telemetry: Telemetry) -> None:
        self.store = store
        self._telemetry = telemetry

    @property
    def errors(self) -> dict[tuple[str, str], float]:
        """How many, by operation and reason."""
        return errors(self._telemetry)


@asynccontextmanager
async def _opened(url: str, **settings: object) -> AsyncIterator[Opened]:
    telemetry = Telemetry()
    store = await RedisStore.open(CacheSettings.model_validate({"url": url, **settings}), telemetry)
    try:
        yield Opened(store, telemetry)
    finally:
        await store.close()


@pytest.fixture
def open_store() -> object:
    """The means to open a Redis store on any URL."""
    return _opened
