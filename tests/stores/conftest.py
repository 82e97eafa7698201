"""A real Redis on a port of its own, that tests may kill, stop, fill and start again."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import redis

from assayd.settings import CacheSettings
from assayd.stores.redis import RedisStore
from assayd.telemetry import Telemetry


class RedisServer:
    """One ``redis-server`` process on ``port``; ``client`` sees what the service wrote."""

    def __init__(self, folder: Path) -> None:
        self.binary = shutil.which("redis-server")
        if self.binary is None:
            pytest.fail(
                "these tests start a real Redis: apt-get install redis-server (or put it on the PATH)"
            )
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis(port=self.port, socket_timeout=5, protocol=2)
        self.start()

    def start(self) -> None:
        """Start it, empty, and return when it answers."""
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "dir": self._folder}
        command = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen([str(self.binary), *command], stdout=subprocess.DEVNULL)
        give_up_at = time.monotonic() + 30
        while True:
            try:
                self.client.ping()
            except redis.ConnectionError:
                assert time.monotonic() < give_up_at, "redis-server did not start"
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """``kill -9``, stopped or not."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """It keeps its connections and answers nothing."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """It answers again."""
        os.kill(self._process.pid, signal.SIGCONT)

    def fill(self) -> None:
        """It is full: every write is refused, every read answered."""
        self.client.config_set("maxmemory-policy", "noeviction")
        self.client.config_set("maxmemory", "1")

    def empty_out(self) -> None:
        """It has room again."""
        self.client.config_set("maxmemory", "0")

    def names(self) -> list[bytes]:
        """What is stored, probes and claims aside."""
        every = self.client.scan_iter()
        return [name for name in every if not name.endswith(b":probe") and b":claim:" not in name]

    def claims(self) -> list[bytes]:
        """What is worked on just now."""
        return [name for name in self.client.scan_iter() if b":claim:" in name]


@contextmanager
def _running(folder: Path) -> Iterator[RedisServer]:
    server = RedisServer(folder)
    yield server
    server.kill()
    server.client.close()


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
