"""The page by which servers are started here: nothing that it started is overlooked or left behind."""

import signal
import sys
from pathlib import Path

import httpx
import pytest

from .processes import Process, answers, assayd, free_port, listens, program, wait_until

HELD_MB = 50
SERVER = """
import http.server, subprocess, sys, threading

class Ill(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503)
        self.end_headers()

def start_another():
    another = [sys.executable, "-c", "held = bytes(b'x' * 50_000_000); print('held', flush=True); input()"]
    process = subprocess.Popen(another, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    started.set()
    process.wait()

started = threading.Event()
threading.Thread(target=start_another, daemon=True).start()
started.wait()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ill).serve_forever()
"""
"""It is never well, and a process that holds memory is started by a thread of it that is not the first."""


def server(log: Path, **how: object) -> Process:
    """One that is ready when it answers anything."""
    port = free_port()
    return Process([sys.executable, "-c", SERVER, str(port)], log, port, **{"ready": answers("/"), **how})  # type: ignore[arg-type]


def test_all_that_it_started_is_weighed_and_killed(tmp_path: Path) -> None:
    """Whichever thread started it; and it starts again on the same port."""
    with server(tmp_path / "log") as one:
        first_mb = one.memory_mb
        assert first_mb > HELD_MB
        assert one.descriptors > 6
        one.kill()
        assert not one.runs
        assert not listens(one)
        assert one.memory_mb == 0
        one.start()
        assert one.ready()
        assert one.memory_mb == pytest.approx(first_mb, rel=0.2)
        code, _ = one.end()
        assert code == -signal.SIGTERM
    assert not listens(one)


def test_an_unhealthy_server_is_ready_only_for_who_takes_any_answer(tmp_path: Path) -> None:
    """A status asked for is that status."""
    with server(tmp_path / "log") as one:
        assert answers("/", 503)(one)
        assert not answers("/", 200)(one)


def test_a_frozen_server_keeps_its_port_answers_when_thawed_and_ends_all_the_same(tmp_path: Path) -> None:
    """``kill -9`` needs nobody to listen."""
    with server(tmp_path / "log") as one, one.connect() as caller:
        one.freeze()
        assert listens(one)
        caller.sendall(b"GET / HTTP/1.0\r\n\r\n")
        caller.settimeout(0.2)
        with pytest.raises(TimeoutError):
            caller.recv(12)
        one.thaw()
        caller.settimeout(30)
        assert caller.recv(12) == b"HTTP/1.0 503"
        one.freeze()
        one.kill()
        wait_until(lambda: not listens(one), "it still listens", 10)


def test_what_ends_before_it_is_ready_says_why(tmp_path: Path) -> None:
    """The last of its output is in the error."""
    command = [sys.executable, "-c", "raise SystemExit('no weights here')"]
    with (
        pytest.raises(RuntimeError, match="no weights here"),
        Process(command, tmp_path / "log", free_port()),
    ):
        pass


def test_what_is_not_installed_is_named() -> None:
    """Instead of a start that fails."""
    with pytest.raises(FileNotFoundError, match="apt-get install no-such-server"):
        program("no-such-server")


def test_the_service_has_the_settings_that_are_named(tmp_path: Path) -> None:
    """Engines without weights but for those that are named; ready means that it judges."""
    settings = {"segment__normalizer": "none", "server__max_rollouts": 1}
    with assayd(tmp_path / "log", weightless=True, **settings) as one:
        rollout = {"prompt": "p", "completion": {"text": "one two"}}
        url = f"{one.url}/score/segment"
        answer = httpx.post(url, json={"rollouts": [rollout]}, timeout=60)
        assert answer.status_code == 200
        assert answer.json()["recipe"]["model"]["name"] == "assay/fake"
        assert httpx.post(url, json={"rollouts": [rollout, rollout]}, timeout=60).status_code == 422
    assert one.ended() == 0
    assert '"event": "closed"' in one.said
