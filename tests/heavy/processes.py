"""The processes of a small deployment, each on a port of its own: they can be killed, stopped, and started again."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

HERE = Path(__file__).parent
SAMPLE = HERE.parents[1] / "docker" / "nginx.conf"
START_WITHIN_S = 120.0


def free_port() -> int:
    """A port that nobody uses just now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


class Process:
    """A program that listens on ``port``; its output goes to ``log``."""

    def __init__(self, command: Iterable[str], log: Path, environment: Mapping[str, str], port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        self._command = list(command)
        self._environment = {**os.environ, **environment}
        self._running: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it and return when it takes connections."""
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=HERE.parents[1],
                start_new_session=True,
            )
        wait_until(self._listens, f"{self._command[:4]} does not start, see {self.log}", START_WITHIN_S)

    def send(self, signal_number: signal.Signals) -> None:
        """Send it a signal."""
        if self._running is not None:
            self._running.send_signal(signal_number)

    def kill(self) -> None:
        """``kill -9``, stopped or not, with all that it has started."""
        if self._running is not None and self._running.poll() is None:
            os.killpg(self._running.pid, signal.SIGKILL)
            self._running.wait()

    def end(self) -> tuple[int, float]:
        """SIGTERM; its exit code, and how long it took (seconds)."""
        began_s = time.monotonic()
        self.send(signal.SIGTERM)
        code = -1 if self._running is None else self._running.wait(timeout=120)
        return code, time.monotonic() - began_s

    def _listens(self) -> bool:
        if self._running is not None and self._running.poll() is not None:
            raise SystemExit(f"{self._command[:4]} ended by itself, see {self.log}:\n{self.log.read_text()}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def wait_until(holds: Callable[[], bool], otherwise: str, within_s: float = 60.0) -> None:
    """Return when ``holds`` says so; ends the script with ``otherwise`` when it does not in time."""
    give_up_at_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > give_up_at_s:
            raise SystemExit(otherwise)
        time.sleep(0.05)


def critic(folder: Path) -> Process:
    """The critic that the replicas ask."""
    port = free_port()
    return Process(
        [sys.executable, str(HERE / "critic_server.py"), str(port)], folder / "critic.log", {}, port
    )


def replica(folder: Path, name: str, critic_url: str, **settings: str) -> Process:
    """``assayd serve`` with a critic elsewhere; ``settings`` as in ``server__drain_s="2"``."""
    port = free_port()
    environment = {f"ASSAY_{engine}__ENGINE": "fake" for engine in ("SEGMENT", "REWRITER", "SEQUENCE")}
    asked = {
        "critic__engine": "openai",
        "critic__model": "scripted",
        "critic__base_url": f"{critic_url}/v1",
        **settings,
    }
    environment |= {f"ASSAY_{key.upper()}": value for key, value in asked.items()}
    command = [sys.executable, "-m", "assayd", "serve", "--port", str(port)]
    return Process(command, folder / f"{name}.log", environment, port)


def ready(process: Process) -> bool:
    """Whether a replica wants calls."""
    try:
        return httpx.get(f"{process.url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def redis(folder: Path) -> Process:
    """An empty Redis that remembers nothing when it is started again."""
    binary = shutil.which("redis-server") or _missing("redis-server")
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    return Process([binary, *options], folder / "redis.log", {}, port)


def nginx(folder: Path, replicas: Iterable[Process]) -> Process:
    """A plain user's nginx, with the sample configuration of ``docker/``, in front of replicas."""
    binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or _missing("nginx")
    port = free_port()
    sample = SAMPLE.read_text().replace("listen 8080;", f"listen 127.0.0.1:{port};")
    for number, one in enumerate(replicas, start=1):
        sample = sample.replace(f"assayd-{number}:8000", f"127.0.0.1:{one.port}")
    temporary = "".join(
        f"{name}_temp_path {folder / name};\n"
        for name in ("proxy", "client_body", "fastcgi", "uwsgi", "scgi")
    )
    access = f"log_format calls '$request_id $status $upstream_status';\naccess_log {folder / 'access.log'} calls;\n"
    # Started by root, its workers would be nobody, whom this folder does not let in.
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "sample.conf").write_text(sample)
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\npid {folder / 'nginx.pid'};\nerror_log {folder / 'nginx.log'};\nevents {{}}\n"
        f"http {{\n{temporary}{access}include {folder / 'sample.conf'};\n}}\n"
    )
    command = [binary, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "nginx.log")]
    return Process(command, folder / "nginx.out", {}, port)


def _missing(program: str) -> str:
    raise SystemExit(f"this needs {program}: apt-get install {program}")
