"""How a service ends: whoever was let in is answered, and whoever comes is told to go elsewhere."""

import json
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx

from ..processes import listens

ENDS_WITHIN_S = 30.0
"""Far less than the minute for which some would go on if they waited for anybody."""

Start = Callable[..., Any]
Client = Callable[[str], httpx.Client]
Body = Callable[..., dict[str, Any]]


def begun(pool: ThreadPoolExecutor, client: httpx.Client, critic: Any, call: Any) -> "Future[httpx.Response]":
    """A call that the critic is busy with."""
    future = pool.submit(client.post, "/score/token", json=call)
    while not critic.prompts:
        time.sleep(0.01)
    return future


def test_sigterm_turns_readyz_red_goes_on_answering_and_ends_with_0(
    served: Start, client: Client, body: Body
) -> None:
    """While it drains, calls old and new are answered with ``Connection: close``; then nobody listens any more."""
    service, critic = served(server__drain_s=2)
    idle, other, late = client(service.url), client(service.url), client(service.url)
    assert idle.get("/readyz").json()["status"] == "ok"
    critic.delay_s = 4.0
    with ThreadPoolExecutor() as pool:
        underway = begun(pool, other, critic, body("begun before"))
        service.send(signal.SIGTERM)
        time.sleep(0.3)
        ready = late.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        assert all(ready.json()["parts"].values())
        assert ready.headers["Connection"] == "close"
        critic.delay_s = 0.0
        new = idle.post("/score/token", json=body("came later"))
        assert (new.status_code, new.json()["results"][0]["status"]) == (200, "ok")
        assert new.headers["Connection"] == "close"
        while listens(service):
            assert service.runs, "it ended before the answer"
            time.sleep(0.05)
        answer = underway.result(timeout=30)
    assert (answer.status_code, answer.json()["results"][0]["status"]) == (200, "ok")
    assert answer.headers["Connection"] == "close"
    assert service.ended(ENDS_WITHIN_S) == 0
    assert '"event": "closed"' in service.said
    assert "Traceback" not in service.said


def test_an_idle_connection_is_answered_once_more_while_others_are(
    served: Start, client: Client, body: Body
) -> None:
    """A call that races with the closing of its connection is answered as long as any other is under way."""
    service, critic = served(server__drain_s=0)
    idle, other = client(service.url), client(service.url)
    assert idle.get("/healthz").status_code == 200
    critic.delay_s = 3.0
    with ThreadPoolExecutor() as pool:
        underway = begun(pool, other, critic, body("begun before"))
        service.send(signal.SIGTERM)
        while listens(service):
            time.sleep(0.01)
        critic.delay_s = 0.0
        raced = idle.post("/score/token", json=body("raced"))
        assert (raced.status_code, raced.headers["Connection"]) == (200, "close")
        assert underway.result(timeout=30).status_code == 200
    assert service.ended(ENDS_WITHIN_S) == 0


def test_clients_that_connect_anew_until_the_end_lose_nothing(
    served: Start, client: Client, body: Body
) -> None:
    """Every call is answered, the last one was never accepted."""
    service, _ = served(server__drain_s=0.5)
    came: list[str] = []

    def call_until_refused() -> None:
        own, outcome = client(service.url), "200"
        while outcome == "200":
            try:
                outcome = str(own.post("/score/token", json=body("again")).status_code)
            except httpx.ConnectError:
                outcome = "refused"
            except httpx.TransportError as error:
                outcome = repr(error)
            came.append(outcome)

    with ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(call_until_refused)
        time.sleep(0.5)
        service.send(signal.SIGTERM)
    assert set(came) == {"200", "refused"}
    assert service.ended(ENDS_WITHIN_S) == 0


def test_a_call_that_is_half_here_is_taken_in(served: Start, body: Body) -> None:
    """Its first half came before the signal, its second behind it."""
    service, _ = served(server__drain_s=0)
    content = json.dumps(body("in two pieces")).encode()
    call = b"POST /score/token HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)
    with service.connect() as headers, service.connect() as rest:
        headers.sendall(call[:30])
        rest.sendall(call[:-30])
        time.sleep(0.3)
        service.send(signal.SIGTERM)
        while listens(service):
            time.sleep(0.01)
        headers.sendall(call[30:])
        rest.sendall(call[-30:])
        for one in (headers, rest):
            answer = b"".join(iter(lambda one=one: one.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" in answer.lower()
    assert service.ended(ENDS_WITHIN_S) == 0


def test_a_second_signal_ends_it_quickly(served: Start, client: Client, body: Body) -> None:
    """Neither the wait nor the call under way is waited for; the exit code tells."""
    service, critic = served(server__drain_s=60)
    critic.delay_s = 60.0
    with ThreadPoolExecutor() as pool:
        underway = begun(pool, client(service.url), critic, body("never answered"))
        service.send(signal.SIGTERM)
        time.sleep(0.3)
        service.send(signal.SIGTERM)
        code = service.ended(ENDS_WITHIN_S)
        assert isinstance(underway.exception(timeout=30), httpx.TransportError)
    assert code == 1
    assert '"event": "calls_cut_off"' in service.said
    assert "Traceback" not in service.said


def test_an_interrupt_does_not_wait_for_anybody_to_notice(served: Start) -> None:
    """Whoever presses Ctrl-C is not a load balancer."""
    service, _ = served(server__drain_s=60)
    service.send(signal.SIGINT)
    assert service.ended(ENDS_WITHIN_S) == 0
