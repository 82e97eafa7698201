"""Calls for shows under load, and what came back: HTTP/1.1 written and read by hand.

A library's own work would be much of what is measured, on the same cores.
"""

import asyncio
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ..texts import mixed

LINE = {"kind": "log_regression", "w_mu": 0.7, "w_sig": 0.2, "b_mu": 0.1, "b_sig": 2.5}


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
        self._seed = seed
        self._dice = random.Random(seed)
        self._count = 0

    def body(self, rollouts: int, timeout_s: float) -> bytes:
        """A call with so many rollouts of mixed lengths."""
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
        return mixed(f"{self._seed} {self._count}", self._dice)


async def score(port: int, body: bytes, timeout_s: float, headers: Mapping[str, str] | None = None) -> Answer:
    """One call, with its deadline in a header too."""
    told = {"X-Assay-Timeout-S": f"{timeout_s:g}", **(headers or {})}
    return await ask(port, "POST", "/score/segment", body, told)
