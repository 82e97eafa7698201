"""What the shows under load share: a service in a process of its own, bare HTTP, and how to read what came back.

The client writes and reads HTTP/1.1 by hand: a library's own work would be much of what is measured, on the same cores.
"""

import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORDS = "the cat sat on a mat and then ran away from two small dogs who were eating 12 apples in their garden".split()
LINE = {"kind": "log_regression", "w_mu": 0.7, "w_sig": 0.2, "b_mu": 0.1, "b_sig": 2.5}
STARTS_WITHIN_S = 120


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: where, and as which process."""

    port: int
    pid: int

    @property
    def memory_mb(self) -> float:
        """What it holds in memory now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def service(environment: Mapping[str, str]) -> Iterator[Service]:
    """``assayd serve`` on a free port with one torch thread, once it is ready."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "assayd", "serve", "--port", str(port)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        asyncio.run(_ready(port, process))
        yield Service(port, process.pid)
    finally:
        process.terminate()
        process.wait(timeout=60)


async def _ready(port: int, process: "subprocess.Popen[bytes]") -> None:
    give_up_at_s = time.monotonic() + STARTS_WITHIN_S
    while process.poll() is None and time.monotonic() < give_up_at_s:
        try:
            if (await ask(port, "GET", "/readyz")).status == 200:
                return
        except OSError:
            pass
        await asyncio.sleep(0.2)
    raise SystemExit("the service did not start")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and after how long."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    took_s: float

    @property
    def outcomes(self) -> list[str]:
        """``ok`` or the kind of failure of each rollout."""
        results = json.loads(self.body)["results"]
        return [result["failure"]["kind"] if result["status"] == "failed" else "ok" for result in results]


async def ask(
    port: int, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    """One request on a connection of its own."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    began_s = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head, _, said = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    took_s = time.perf_counter() - began_s
    status, *fields = head.decode("latin-1").split("\r\n")
    told = dict(field.split(": ", 1) for field in fields)
    lower = {name.lower(): value for name, value in told.items()}
    return Answer(int(status.split()[1]), lower, said, took_s)


class Calls:
    """Bodies for ``/score/segment``, each of texts that no cache has seen."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._count = 0

    def body(self, rollouts: int, timeout_s: float) -> bytes:
        """A call with so many rollouts, half of them below 55 words and the longest of 300."""
        call = {
            "rollouts": [
                {"prompt": "What did they do?", "completion": {"text": self._text()}} for _ in range(rollouts)
            ],
            "options": {"c_ent": 1.75, "normalizer": LINE},
            "timeout_s": timeout_s,
        }
        return json.dumps(call).encode()

    def _text(self) -> str:
        self._count += 1
        words = min(300, int(self._dice.lognormvariate(4.0, 0.9)) + 3)
        return f"{id(self) % 9973} {self._count} " + " ".join(self._dice.choices(WORDS, k=words))


async def score(port: int, body: bytes, timeout_s: float, headers: Mapping[str, str] | None = None) -> Answer:
    """One call, with its deadline in a header too."""
    told = {"X-Assay-Timeout-S": f"{timeout_s:g}", **(headers or {})}
    return await ask(port, "POST", "/score/segment", body, told)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a share does not exceed; 0 of none."""
    if len(values) < 2:
        return max(values, default=0.0)
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]


class Promises:
    """What was promised and what came of it."""

    def __init__(self) -> None:
        self._broken = 0

    def check(self, what: str, *, kept: bool, told: Any) -> None:
        """Print a promise and whether it was kept."""
        self._broken += not kept
        print(f"{'kept  ' if kept else 'BROKEN'}  {what}: {told}")

    def leave(self) -> None:
        """End the script, with 1 where one was broken."""
        raise SystemExit(self._broken > 0)
