"""A server in a process of its own, on a free port, its output in a file."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

START_WITHIN_S = 300.0


@contextmanager
def served(
    command: Callable[[int], Sequence[str]], log: Path, environment: Mapping[str, str], health: str
) -> Iterator[str]:
    """The URL of what ``command`` starts on a port, once ``health`` answers anything at all."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with log.open("ab") as output:
        # A session of its own: some servers leave their children behind.
        process = subprocess.Popen(
            list(command(port)),
            stdout=output,
            stderr=output,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            start_new_session=True,
        )
    try:
        _wait(f"{url}{health}", process, log)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        _kill_session(process.pid)


@contextmanager
def assayd(log: Path, **settings: str) -> Iterator[str]:
    """``assayd serve``; settings as in ``segment__determinism="strict"``."""
    environment = {f"ASSAY_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "assayd", "serve", "--port"]
    with served(lambda port: [*command, str(port)], log, environment, "/healthz") as url:
        yield url


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up_at_s = time.monotonic() + START_WITHIN_S
    while time.monotonic() < give_up_at_s and process.poll() is None:
        try:
            httpx.get(url, timeout=5, trust_env=False)
        except httpx.TransportError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"{process.args!r} does not start:\n{log.read_text()[-2000:]}")


def _kill_session(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
