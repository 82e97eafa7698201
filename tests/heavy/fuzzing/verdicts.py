"""What a service may answer to whatever comes in, and what it may not."""

import json
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import httpx

DOCUMENTED = (503, 504)
"""Of the 5xx those that say what the caller can do."""
PATIENCE_S = 30.0
"""An answer that takes longer counts as none."""
SLOW_S = 5.0
"""A request that takes longer is kept, too, the slowest of its kind: there is something to mend."""


@dataclass(slots=True)
class Verdicts:
    """What was answered so far; what should not have been is kept in ``folder`` with the request."""

    folder: Path
    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    """By path."""
    broken: Counter[str] = field(default_factory=Counter)
    longest_s: dict[str, float] = field(default_factory=dict)
    """By route and kind of case."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def judge(self, what: str, sent: bytes, response: httpx.Response | None, elapsed_s: float) -> None:
        """One answer, None where there was none; ``what`` says kind of case, method and path."""
        with self._lock:
            path = what.rpartition(" ")[2]
            self.statuses[path][0 if response is None else response.status_code] += 1
            if elapsed_s > max(SLOW_S, self.longest_s.get(what, 0.0)):
                self._keep("slow-" + "".join(filter(str.isalnum, what)), f"{what}: {elapsed_s:.1f} s", sent)
            self.longest_s[what] = max(self.longest_s.get(what, 0.0), elapsed_s)
            if complaint := _complaint(response, elapsed_s):
                self.complain(f"{what}: {complaint}", sent)

    def complain(self, said: str, sent: bytes) -> None:
        """Remember a broken promise, and the first request by which it was broken."""
        self.broken[said] += 1
        if self.broken[said] == 1:
            name = f"{len(self.broken):03}"
            self._keep(name, said, sent)
            print(f"BROKEN {said} (the request: {name})", flush=True)

    def _keep(self, name: str, said: str, sent: bytes) -> None:
        (self.folder / f"{name}.body").write_bytes(sent)
        (self.folder / f"{name}.txt").write_text(said + "\n", encoding="utf-8")


def _complaint(response: httpx.Response | None, elapsed_s: float) -> str | None:
    if response is None:
        return "no answer"
    if elapsed_s > PATIENCE_S:
        return "an answer after too long a time"
    status = response.status_code
    if status >= 500 and status not in DOCUMENTED:
        return f"status {status}: {response.text[:200]}"
    if "json" not in response.headers.get("content-type", ""):
        return None if status < 500 else f"status {status} without JSON"
    try:
        body = json.loads(response.content, parse_constant=_refuse)
    except ValueError as error:
        return f"status {status}: its body is no JSON ({error})"
    if status >= 400 and "kind" not in body and "parts" not in body:
        return f"status {status} without a kind: {response.text[:200]}"
    results = body.get("results", ()) if isinstance(body, dict) else ()
    if any(None in (one.get(name) or ()) for one in results for name in ("rewards", "intrinsic")):
        return "a reward that is no number"
    return None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")
