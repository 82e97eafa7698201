"""Clients that are slow on purpose, by hand on raw connections: each is cut off, and nobody else notices."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from ..processes import Process, assayd, wait_until

LIMIT_S = 1.0
# What a busy machine may add.
GRACE_S = 15.0
CONNECTIONS = 8
ARRIVING_MB = 16
HEAD = b"POST /score/segment HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service that gives a client a second, and takes eight connections."""
    limits = {
        "server__header_timeout_s": LIMIT_S,
        "server__body_timeout_s": LIMIT_S,
        "server__answer_timeout_s": LIMIT_S,
        "server__keep_alive_s": 3,
        "server__max_connections": CONNECTIONS,
        "server__max_arriving_mb": ARRIVING_MB,
    }
    log = tmp_path_factory.mktemp("service") / "log"
    with assayd(log, weightless=True, segment__normalizer="none", **limits) as one:
        yield one
        one.kill()


def everything(connection: socket.socket) -> bytes:
    """What the service says until it hangs up; a connection that it resets has said nothing more."""
    said = b""
    connection.settimeout(LIMIT_S + GRACE_S)
    try:
        while piece := connection.recv(65536):
            said += piece
    except ConnectionResetError:
        pass
    return said


def problem(said: bytes) -> tuple[int, dict[str, Any]]:
    """Status and body of an answer, which has to be problem+json on a connection that is closed."""
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert b"connection: close" in head.lower()
    return int(head.split()[1]), json.loads(body)


def fine(service: Process) -> bool:
    """Whether somebody else is answered as ever."""
    return httpx.get(f"{service.url}/readyz", timeout=30).status_code == 200


def trickle(connection: socket.socket, piece: bytes) -> bytes:
    """Send a piece every tenth of a second until the service has had enough; gives what it said."""
    give_up_at = time.monotonic() + LIMIT_S + GRACE_S
    connection.settimeout(0.1)
    said = b""
    while time.monotonic() < give_up_at:
        try:
            connection.sendall(piece)
        except OSError:
            return said + everything(connection)
        try:
            received = connection.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            return said
        if not received:
            return said
        said += received
    raise AssertionError("it was never cut off")


def test_a_body_that_trickles_is_answered_408(service: Process) -> None:
    """However steadily it trickles."""
    with service.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
        status, told = problem(trickle(connection, b" "))
    assert (status, told["kind"]) == (408, "past_deadline")
    assert "server.body_timeout_s" in told["detail"]
    assert fine(service)


def test_bodies_that_never_end_share_a_bounded_memory(service: Process) -> None:
    """Another one is refused as long as they are held, though each is within its own limit."""
    half = b" " * (ARRIVING_MB * 1_000_000 * 3 // 4)
    with service.connect() as holding, service.connect() as other:
        for connection in (holding, other):
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (2 * len(half)))
        holding.sendall(half)
        other.sendall(half)
        answers = sorted(int(everything(connection).split()[1]) for connection in (holding, other))
    assert answers == [408, 503]
    refused = httpx.post(f"{service.url}/score/segment", content=half, timeout=30)
    assert refused.status_code == 400, "there is room again"


def test_headers_that_trickle_are_answered_408(service: Process) -> None:
    """Each line is whole, the end never comes."""
    with service.connect() as connection:
        connection.sendall(HEAD)
        status, told = problem(trickle(connection, b"X: y\r\n"))
    assert (status, told["kind"]) == (408, "past_deadline")
    assert fine(service)


@pytest.mark.parametrize("sent", [b"", b"\r\n" * 3])
def test_a_connection_that_says_nothing_is_closed(service: Process, sent: bytes) -> None:
    """Silence and empty lines are no call."""
    with service.connect() as connection:
        connection.sendall(sent)
        assert everything(connection)[:12] in (b"", b"HTTP/1.1 408")


def test_empty_lines_do_not_keep_a_connection(service: Process) -> None:
    """Neither before the first call nor behind one."""
    with service.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        trickle(connection, b"\r\n")


def test_a_body_that_nobody_reads_does_not_keep_a_connection(service: Process) -> None:
    """The answer, 404, was given before it had come; what goes on trickling is cut off."""
    with service.connect() as connection:
        connection.sendall(HEAD.replace(b"/score/segment", b"/nowhere") + b"Content-Length: 100000\r\n\r\n")
        assert trickle(connection, b" ").startswith(b"HTTP/1.1 404 ")


def test_endless_headers_are_refused(service: Process) -> None:
    """However fast they come."""
    with service.connect() as connection:
        connection.sendall(HEAD)
        try:
            for _ in range(200):
                connection.sendall(b"X: " + b"y" * 8192 + b"\r\n")
        except OSError:
            pass
        said = everything(connection)
    assert said == b"" or problem(said)[0] == 431
    assert fine(service)


def test_what_is_not_http_is_told_so(service: Process) -> None:
    """In the words of every other error."""
    with service.connect() as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n")
        status, told = problem(everything(connection))
    assert (status, told["kind"]) == (400, "invalid")


def open_connections(service: Process) -> float:
    """As the service counts them, the one that asks included."""
    lines = httpx.get(f"{service.url}/metrics", timeout=30).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("assay_connections "))


def test_answers_that_are_not_read_are_dropped(service: Process) -> None:
    """The connection is cut though the client still holds it."""
    # Far more than the four megabytes that Linux would keep for the client.
    calls = 100
    assert calls * len(httpx.get(f"{service.url}/openapi.json").content) > 8_000_000
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", service.port))
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * calls)
        connection.settimeout(60)
        assert connection.recv(9) == b"HTTP/1.1 "
        wait_until(lambda: open_connections(service) <= 1, "it was not cut off", LIMIT_S + GRACE_S)
        assert everything(connection).count(b"HTTP/1.1 200 ") < calls


def test_connections_too_many_are_told_so_and_probes_answered(service: Process) -> None:
    """503 with ``Retry-After``, as from a service that is busy; room again as soon as others have left."""
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(service.connect()).sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        refused = httpx.post(f"{service.url}/score/segment", json={"rollouts": []}, timeout=30)
        assert (refused.status_code, refused.json()["kind"]) == (503, "overloaded")
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.headers["Connection"] == "close"
        assert fine(service)
    wait_until(
        lambda: httpx.post(f"{service.url}/score/segment", json={}, timeout=30).status_code == 422,
        "there was no room again",
        GRACE_S,
    )


def test_crowds_are_hung_up_on_and_leave_no_trace(service: Process) -> None:
    """Far above the limit nobody is even told; when they have gone, the service is as it was."""
    with ExitStack() as stack:
        crowd = [stack.enter_context(service.connect()) for _ in range(200)]
        assert everything(crowd[-1]) == b""
        for one in crowd:
            everything(one)
    assert open_connections(service) == 1
    assert fine(service)
