"""``assayd serve`` as a process of its own, whose critic takes as long as the test says."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import httpx
import pytest

FAKES = {f"ASSAY_{name}__ENGINE": "fake" for name in ("SEGMENT", "REWRITER", "SEQUENCE")}
START_WITHIN_S = 90.0


class Served:
    """One process, and what it says on standard error."""

    def __init__(self, environment: dict[str, str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "assayd", "serve", "--port", str(self.port)],
            stderr=subprocess.PIPE,
            env={**os.environ, **FAKES, **environment},
            text=True,
        )
        give_up_at = time.monotonic() + START_WITHIN_S
        while not self.listens():
            assert self.process.poll() is None, "it did not start"
            assert time.monotonic() < give_up_at, "it did not start in time"
            time.sleep(0.05)

    def listens(self) -> bool:
        """Whether anybody takes connections on its port."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def connect(self) -> socket.socket:
        """A connection to write to and read from by hand."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def ask(self, sent: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(sent)

    def ended(self) -> tuple[int, str]:
        """How it ended, and what it said."""
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


@contextmanager
def running(environment: dict[str, str]) -> Iterator[Served]:
    """A service while the block runs."""
    one = Served(environment)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.communicate()


@pytest.fixture(scope="session")
def start_served() -> Callable[[dict[str, str]], AbstractContextManager[Served]]:
    """The means to start a service by its environment."""
    return running


@pytest.fixture
def served(
    serve_app: Callable[[object], AbstractContextManager[str]], critic: Any
) -> Iterator[Callable[..., Any]]:
    """Starts a service with settings (``server__drain_s=1``); gives it and the critic behind it."""
    with ExitStack() as stack:

        def start(**settings: object) -> tuple[Served, Any]:
            own = type(critic)()
            url = stack.enter_context(serve_app(own))
            engine = {"critic__engine": "openai", "critic__model": "scripted", "critic__base_url": f"{url}/v1"}
            said = {f"ASSAY_{name.upper()}": str(value) for name, value in {**engine, **settings}.items()}
            return stack.enter_context(running(said)), own

        yield start


@pytest.fixture
def body() -> Callable[..., dict[str, Any]]:
    """A call with one rollout a prompt."""
    item = {"completion": {"text": "you rat", "offsets": [[0, 3], [3, 7]]}}

    def make(*prompts: str) -> dict[str, Any]:
        return {"task": "relc-toxicity", "rollouts": [{**item, "prompt": prompt} for prompt in prompts]}

    return make


@pytest.fixture
def client() -> Iterator[Callable[[str], httpx.Client]]:
    """The means to call a service; each client has connections of its own."""
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(httpx.Client(base_url=url, timeout=30))
