"""A real ``assayd serve`` to be fuzzed: how much memory it holds, and whether it still answers others meanwhile."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

WEIGHTLESS = {f"ASSAY_{name}__ENGINE": "fake" for name in ("CRITIC", "SEGMENT", "REWRITER", "SEQUENCE")}
# A cache that is still filling looks like a leak.
SETTINGS = {"ASSAY_CACHE__MAX_MB": "8", "ASSAY_SERVER__DEFAULT_TIMEOUT_S": "10"}
STARTS_WITHIN_S = 120.0
PROBE_EVERY_S = 0.5
_KILOBYTE = 1024


@dataclass(slots=True)
class Service:
    """``slowest_s`` is the longest that ``/healthz`` took so far, asked all the time by somebody else."""

    url: str
    process: "subprocess.Popen[bytes]"
    slowest_s: float = 0.0
    resident_mb: list[float] = field(default_factory=list)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def weigh(self) -> float:
        """Remember and give the memory that it holds now, in MB, its own processes included."""
        held = sum(map(_resident_mb, [self.process.pid, *_children(self.process.pid)]))
        self.resident_mb.append(held)
        return held


@contextmanager
def serving(log: Path, *, embedded: bool) -> Iterator[Service]:
    """The service on a free port, on engines without weights or ``embedded`` ones; its log goes to a file."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    named = {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}
    environment = {**named, **SETTINGS, **({} if embedded else WEIGHTLESS)}
    command = [sys.executable, "-m", "assayd", "serve", "--port", str(port)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
    service = Service(f"http://127.0.0.1:{port}", process)
    done = threading.Event()
    try:
        _wait(service)
        threading.Thread(target=_probe, args=(service, done), daemon=True).start()
        yield service
    finally:
        done.set()
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(service: Service) -> None:
    give_up_at = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < give_up_at and service.process.poll() is None:
        try:
            if httpx.get(f"{service.url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit("the service did not start: see its log")


def _probe(service: Service, done: threading.Event) -> None:
    with httpx.Client(base_url=service.url, timeout=None) as client:  # noqa: S113 - how long it takes is the question
        while not done.wait(PROBE_EVERY_S):
            began_s = time.monotonic()
            try:
                client.get("/healthz")
            except httpx.TransportError:
                continue
            service.slowest_s = max(service.slowest_s, time.monotonic() - began_s)


def _resident_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return 0.0
    held = next((line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")), "0")
    return int(held) / _KILOBYTE


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
