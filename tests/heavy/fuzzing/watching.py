"""How a service fares while it is fuzzed: the memory that it holds, and how long others wait for its ``/healthz``."""

import threading
import time
from contextlib import suppress
from statistics import median
from types import TracebackType
from typing import Self

import httpx

from ...processes import Process

PROBE_EVERY_S = 0.5
GIVES_UP_AFTER_S = 60.0
WEIGHED_EVERY = 1000
"""Cases."""


class Watch:
    """Counts cases and weighs the service every so often; ``/healthz`` is asked all the time while the block runs."""

    def __init__(self, service: Process) -> None:
        self.slowest_s = 0.0
        self._service = service
        self._cases = 0
        self._held_mb: list[float] = []
        self._done = threading.Event()
        self._prober = threading.Thread(target=self._probe, daemon=True)

    def __enter__(self) -> Self:
        self._prober.start()
        self.tell()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._prober.join()
        self.tell()

    def one_more(self) -> None:
        """After each case."""
        self._cases += 1
        if self._cases % WEIGHED_EVERY == 0:
            self.tell()

    def tell(self) -> None:
        """What the service holds now."""
        self._held_mb.append(self._service.memory_mb)
        print(
            f"{self._cases:7} cases: {self._held_mb[-1]:.0f} MB, /healthz at most {self.slowest_s:.2f} s",
            flush=True,
        )

    @property
    def grown_mb(self) -> float:
        """By how much the last quarter lies above the second; the first one warms up."""
        quarter = len(self._held_mb) // 4
        early, late = self._held_mb[quarter : 2 * quarter], self._held_mb[-quarter:]
        return median(late) - median(early) if quarter else 0.0

    def _probe(self) -> None:
        with httpx.Client(base_url=self._service.url, timeout=GIVES_UP_AFTER_S, trust_env=False) as client:
            while not self._done.wait(PROBE_EVERY_S):
                began_s = time.monotonic()
                # No answer is a long wait, too; nobody there is not.
                with suppress(httpx.TransportError):
                    client.get("/healthz")
                self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
