"""Programs that listen on a port of their own: started until they are ready, weighed, frozen, killed, started again.

Tests, shows and benchmarks start every server by this page, ``assayd serve`` first of all.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

STARTS_WITHIN_S = 400.0
"""The longest start is that of an ``assayd`` with several engines of vLLM."""
ENDS_WITHIN_S = 120.0
SAID_LAST = 4000
"""Characters of its output that are told when it ends by itself: vLLM's tracebacks are long."""
BYTES_PER_MB = 1_000_000
WEIGHTLESS = {f"ASSAY_{role}__ENGINE": "fake" for role in ("CRITIC", "SEGMENT", "REWRITER", "SEQUENCE")}
"""The environment of an ``assayd`` whose engines have no weights: they judge in no time."""


def free_port() -> int:
    """A port that nobody uses just now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def program(name: str) -> str:
    """Where a program is installed; FileNotFoundError says where to get it."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        raise FileNotFoundError(f"this needs {name}: apt-get install {name}")
    return found


def listens(process: "Process") -> bool:
    """Whether it takes connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", process.port)) == 0


class Process:
    """A program that listens on ``port``, while the block runs; its output goes to ``log``.

    It inherits the environment and has one torch thread: who asks it works on the same cores.
    """

    def __init__(
        self,
        command: Iterable[str],
        log: Path,
        port: int,
        *,
        environment: Mapping[str, str] | None = None,
        ready: Callable[["Process"], bool] = listens,
    ) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        self._command = list(command)
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
        self._ready = ready
        self._running: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not self.runs:
            print(self._what_became("does not run any more"), file=sys.stderr)
        with suppress(subprocess.TimeoutExpired):
            self.end(within_s=30.0)
        self.kill()  # what it has started, too: some servers leave that behind

    def start(self) -> None:
        """Start it and return when it is ready; RuntimeError where it ends before, or takes too long."""
        with self.log.open("ab") as output:
            # A session of its own, so that it can be killed with all that it has started.
            self._running = subprocess.Popen(
                self._command, stdout=output, stderr=output, env=self._environment, start_new_session=True
            )
        wait_until(
            lambda: not self.runs or self.ready(),
            f"{self._command[:4]} is not ready",
            STARTS_WITHIN_S,
        )
        if not self.runs:
            raise RuntimeError(self._what_became("ended by itself"))

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._running is not None and self._running.poll() is None

    @property
    def pid(self) -> int:
        """Its number among all processes; ValueError where it was never started."""
        if self._running is None:
            raise ValueError(f"{self._command[:4]} was never started")
        return self._running.pid

    @property
    def said(self) -> str:
        """Its whole output, of all starts."""
        return self.log.read_text(errors="replace")

    def ready(self) -> bool:
        """Whether it wants calls."""
        return self._ready(self)

    def connect(self) -> socket.socket:
        """A connection to write to and read from by hand."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def send(self, signal_number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self._running is not None:
            self._running.send_signal(signal_number)

    def freeze(self) -> None:
        """It keeps its connections, takes new ones, and answers nothing."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """It answers again."""
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """``kill -9``, frozen or not, with all that it has started."""
        if self._running is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._running.pid, signal.SIGKILL)
            self._running.wait()

    def end(self, within_s: float = ENDS_WITHIN_S) -> tuple[int, float]:
        """SIGTERM; its exit code, and how long it took (seconds), or ``subprocess.TimeoutExpired``."""
        began_s = time.monotonic()
        self.send(signal.SIGTERM)
        return self.ended(within_s), time.monotonic() - began_s

    def ended(self, within_s: float = ENDS_WITHIN_S) -> int:
        """Its exit code, as soon as it has ended, or ``subprocess.TimeoutExpired``."""
        return -1 if self._running is None else self._running.wait(within_s)

    @property
    def memory_mb(self) -> float:
        """What it and all that it has started hold in memory now; what they share counts for each."""
        return sum(map(_resident_mb, self._family()))

    @property
    def descriptors(self) -> int:
        """Open files, sockets and pipes, of all that it has started, too."""
        return sum(map(_descriptors, self._family()))

    def _what_became(self, of_it: str) -> str:
        return f"{self._command[:4]} {of_it}; it said:\n{self.said[-SAID_LAST:]}"

    def _family(self) -> Iterator[int]:
        return iter(()) if self._running is None else _family(self._running.pid)


def answers(path: str, *statuses: int) -> Callable[[Process], bool]:
    """Whether it answers a path with one of these statuses; with anything at all where none is named."""

    def answered(process: Process) -> bool:
        if not listens(process):  # a client is dear to make, and who starts needs the same cores
            return False
        try:
            status = httpx.get(f"{process.url}{path}", timeout=5, trust_env=False).status_code
        except httpx.TransportError:
            return False
        return not statuses or status in statuses

    return answered


READY = answers("/readyz", 200)


def assayd(
    log: Path, *, weightless: bool = False, ready: Callable[[Process], bool] = READY, **settings: object
) -> Process:
    """``assayd serve``; settings as in ``server__drain_s=2``, ``weightless`` where they name no engine.

    Nobody is told that it ends (``server__drain_s``) unless they say so.
    """
    port = free_port()
    environment = {
        "ASSAY_SERVER__DRAIN_S": "0",
        **(WEIGHTLESS if weightless else {}),
        **{f"ASSAY_{name.upper()}": str(value) for name, value in settings.items()},
    }
    command = [sys.executable, "-m", "assayd", "serve", "--port", str(port)]
    return Process(command, log, port, environment=environment, ready=ready)


def wait_until(holds: Callable[[], bool], otherwise: str, within_s: float = 60.0) -> None:
    """Return when ``holds`` says so; RuntimeError with ``otherwise`` when it does not in time."""
    give_up_at_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > give_up_at_s:
            raise RuntimeError(f"{otherwise} after {within_s:g} s")
        time.sleep(0.05)


def _family(pid: int) -> Iterator[int]:
    """A process and what it has started, by whichever of its threads."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # it has ended meanwhile
            for child in children.read_text().split():
                yield from _family(int(child))


def _resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / BYTES_PER_MB


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - names are enough
    except OSError:
        return 0
