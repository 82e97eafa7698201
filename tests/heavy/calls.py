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
    """What came back, when (``time.monotonic``), and after how long."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    at_s: float
    took_s: float

    @property
    def outcomes(self) -> list[str]:
        """``ok`` or the kind of failure of each rollout."""
        results = json.loads(self.body)["results"]
        return [result["failure"]["kind"] if result["status"] == "failed" else "ok" for result in results]


class Client:
    """Calls to one port, as many at a time as one likes; connections are kept, as trainers' clients keep theirs.

    ``path`` is the judging route.
    """

    def __init__(self, port: int, path: str = "/score/segment") -> None:
        self._port = port
        self._path = path
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request."""
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        began_s = time.monotonic()
        reader, writer = await self._connected()
        kept = False
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            head = await reader.readuntil(b"\r\n\r\n")
            status, *fields = head.decode("latin-1").strip().split("\r\n")
            told = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
            said = await reader.readexactly(int(told["content-length"]))
            kept = told.get("connection") != "close"
        finally:
            # Whoever is called off hangs up: what was to be the answer would be taken for that of the next call.
            if kept:
                self._idle.append((reader, writer))
            else:
                writer.close()
        at_s = time.monotonic()
        return Answer(int(status.split()[1]), told, said, at_s, at_s - began_s)

    async def score(self, body: bytes, timeout_s: float, headers: Mapping[str, str] | None = None) -> Answer:
        """One call to the judging route, with its deadline in a header too."""
        told = {"Content-Type": "application/json", "X-Assay-Timeout-S": f"{timeout_s:g}", **(headers or {})}
        return await self.ask("POST", self._path, body, told)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not (reader.at_eof() or writer.is_closing()):
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._port)


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
