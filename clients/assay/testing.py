"""A service for tests: real HTTP on a free port, no models, answers by your rules.

    with FakeServer() as server, server.client() as client:
        server.reward = {"r1": [0.0, -0.5]}
        server.fail("r2", "unparseable")
        server.refuse(503, retry_after_s=0.1, times=2)

It speaks every judging route in the service's shapes and remembers what it was asked.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

from . import fake_answers as fake
from .async_client import AsyncClient
from .calls import REWARD_MATCH
from .client import Client
from .wire import failed_result

_UNKNOWN: Final = fake.problem(401, "unauthenticated", "send the key as Authorization: Bearer")
ROUTES: Final = ("/score/token", "/score/segment", "/score/sequence", "/rewrite")

Reward = float | Mapping[str, Sequence[float]] | Callable[[Mapping[str, Any], int], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Received:
    """One request: its route, its body, its headers in lower case, and when it came (``time.monotonic``)."""

    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    at_s: float


@dataclass(frozen=True, slots=True)
class _Refusal:
    status: int
    kind: str
    retry_after_s: float | None
    body: bytes | None


class _Dropped(Exception):
    """The connection shall break without an answer."""


class FakeServer:
    """Answers until ``stop`` or the end of the ``with`` block. Change its rules at any time.

    ``reward`` is what each token earns by itself: a number; a list per rollout id (others get 0.0); or a function of
    the rollout and its number of tokens. Its sum is a sequence's reward. The extrinsic reward joins the last token.
    ``delay_s`` is waited before each answer, ``trickle_s`` between the bytes of one. ``api_key``, where set, is asked
    for. ``max_rollouts`` and ``max_bytes`` are the most a request may bring. ``version`` is part of the recipe.
    Completions are cut as they say; text alone into words.
    """

    def __init__(self, *, reward: Reward = 0.0, api_key: str | None = None, port: int = 0) -> None:
        self.reward: Reward = reward
        self.api_key = api_key
        self.delay_s = 0.0
        self.trickle_s = 0.0
        self.max_rollouts = 4096
        self.max_bytes = 64_000_000
        self.version = fake.VERSION
        self.ready = True
        self.received: list[Received] = []
        """Every judging request that came in, refused ones included, in order."""
        self._port = port
        self._failures: dict[str, tuple[str, str]] = {}
        self._refusals: deque[_Refusal | None] = deque()
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    @property
    def url(self) -> str:
        """Where it listens; the same again after ``stop`` and ``start``."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def rollouts(self) -> list[Mapping[str, Any]]:
        """Every rollout that came in, in order."""
        return [rollout for one in self.received for rollout in one.body.get("rollouts", ())]

    def client(self, **settings: Any) -> Client:
        """A client of it, with its key."""
        return Client(self.url, **{"api_key": self.api_key, **settings})

    def async_client(self, **settings: Any) -> AsyncClient:
        """The same for event loops."""
        return AsyncClient(self.url, **{"api_key": self.api_key, **settings})

    def fail(self, id: str, kind: str = "unparseable", detail: str = "the test said so") -> None:
        """Let the rollout with this id fail from now on."""
        self._failures[id] = (kind, detail)

    def refuse(
        self,
        status: int = 503,
        kind: str = "overloaded",
        *,
        retry_after_s: float | None = None,
        times: int = 1,
        body: bytes | None = None,
    ) -> None:
        """Refuse the next calls as a whole. ``body`` stands in place of the problem details, as a proxy's would."""
        self._refusals.extend([_Refusal(status, kind, retry_after_s, body)] * times)

    def drop(self, times: int = 1) -> None:
        """Break the connections of the next calls instead of answering."""
        self._refusals.extend([None] * times)

    def start(self) -> Self:
        """Begin to listen, on the same port as before where it has listened already."""
        self._stopping.clear()
        self._server = _Server(("127.0.0.1", self._port), _handler_of(self))
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening; whoever waits for an answer gets none."""
        if self._server is None or self._thread is None:
            return
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._server = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.stop()

    def _get(self, path: str, headers: Mapping[str, str]) -> tuple[int, Any]:
        if path == "/healthz":
            return 200, {"status": "ok"}
        if path == "/readyz":
            status = "ok" if self.ready else "not_ready"
            complaints = {} if self.ready else {"fake": "the test said so"}
            told = {"status": status, "parts": {"fake": self.ready}, "complaints": complaints}
            return (200 if self.ready else 503), told
        if path == "/info":
            if not self._knows(headers):
                return 401, _UNKNOWN
            limits = {"max_rollouts": self.max_rollouts, "max_body_mb": self.max_bytes / 1e6}
            return 200, {"service_version": self.version, "models": {"critic": fake.MODEL}, "limits": limits}
        return 404, fake.problem(404, "invalid", "Not Found")

    def _post(self, path: str, raw: bytes, headers: Mapping[str, str]) -> tuple[int, Any]:
        """Status and body; raises ``_Dropped``."""
        body = _read(raw)
        with self._lock:
            self.received.append(Received(path, body, headers, time.monotonic()))
            planned = self._refusals.popleft() if self._refusals else ()
        if self._stopping.wait(self.delay_s) or planned is None:
            raise _Dropped
        if isinstance(planned, _Refusal):
            told = fake.problem(
                planned.status, planned.kind, "the test said so", retry_after_s=planned.retry_after_s
            )
            return planned.status, told if planned.body is None else planned.body
        refused = self._refused(path, body, len(raw), headers)
        return (refused["status"], refused) if refused else (200, self._answer(path, body))

    def _refused(
        self, path: str, body: Mapping[str, Any], size: int, headers: Mapping[str, str]
    ) -> dict[str, Any] | None:
        if path not in ROUTES:
            return fake.problem(404, "invalid", "Not Found")
        if not self._knows(headers):
            return _UNKNOWN
        if size > self.max_bytes:
            return fake.problem(413, "too_long", f"the body is larger than {self.max_bytes} bytes")
        rollouts = body.get("rollouts")
        if not isinstance(rollouts, list) or not 0 < len(rollouts) <= self.max_rollouts:
            return fake.problem(422, "invalid", f"1 to {self.max_rollouts} rollouts", pointer="/rollouts")
        for index, rollout in enumerate(rollouts):
            if not isinstance(rollout, dict) or not isinstance(rollout.get("completion"), dict):
                pointer = f"/rollouts/{index}/completion"
                return fake.problem(422, "invalid", "Field required", pointer=pointer)
        if path == "/score/token" and body.get("method") != "grm" and body.get("task") not in fake.TASKS:
            return fake.problem(422, "invalid", f"task: one of {', '.join(fake.TASKS)}", pointer="/task")
        pinned = headers.get(REWARD_MATCH.lower())
        now = fake.recipe_of(path, body, self.version)["id"]
        if pinned is not None and pinned.strip('" ') != now:
            return fake.problem(412, "invalid", f"the recipe is now {now}, the call pins {pinned}")
        return None

    def _knows(self, headers: Mapping[str, str]) -> bool:
        return self.api_key is None or headers.get("authorization") == f"Bearer {self.api_key}"

    def _answer(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        results = []
        for index, rollout in enumerate(body["rollouts"]):
            id = str(index) if rollout.get("id") is None else rollout["id"]  # noqa: A001 - the wire's word
            results.append(self._result(path, body, {**rollout, "id": id}))
        answer = {"results": results, "recipe": fake.recipe_of(path, body, self.version)}
        if path == "/score/sequence":
            answer["batch"] = fake.tally(results, body.get("options", {}))
        return answer

    def _result(self, path: str, body: Mapping[str, Any], rollout: Mapping[str, Any]) -> dict[str, Any]:
        if rollout["id"] in self._failures:
            return failed_result(rollout["id"], *self._failures[rollout["id"]])
        tokens = len(fake.offsets_of(rollout["completion"]))
        if tokens == 0:
            return failed_result(rollout["id"], "empty", "a completion without tokens")
        rewards = self._rewards(rollout, tokens)
        if len(rewards) != tokens:
            detail = f"the test gives {len(rewards)} rewards to {tokens} tokens"
            return failed_result(rollout["id"], "internal", detail)
        return fake.judged(path, body.get("method", ""), rollout, rewards)

    def _rewards(self, rollout: Mapping[str, Any], tokens: int) -> list[float]:
        if callable(self.reward):
            return [float(one) for one in self.reward(rollout, tokens)]
        if isinstance(self.reward, Mapping):
            return [float(one) for one in self.reward.get(rollout["id"], [0.0] * tokens)]
        return [float(self.reward)] * tokens


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a caller who hangs up is part of the tests."""


def _handler_of(fake_server: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self) -> None:
            self._send(*fake_server._get(self.path, self._headers))

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                self._send(*fake_server._post(self.path, raw, self._headers))
            except _Dropped:
                self.close_connection = True

        @property
        def _headers(self) -> dict[str, str]:
            return {name.lower(): value for name, value in self.headers.items()}

        def _send(self, status: int, value: Any) -> None:
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            kind = "application/json" if status < 400 else "application/problem+json"
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if isinstance(value, bytes) else kind)
            self.send_header("Content-Length", str(len(content)))
            after_s = value.get("retry_after_s") if isinstance(value, dict) else None
            if after_s is not None:
                self.send_header("Retry-After", f"{after_s:g}")
            self.end_headers()
            for piece in _pieces(content, fake_server.trickle_s):
                self.wfile.write(piece)
                self.wfile.flush()
                if fake_server.trickle_s and fake_server._stopping.wait(fake_server.trickle_s):
                    raise ConnectionAbortedError

        def log_message(self, format: str, *arguments: Any) -> None:
            """Print nothing."""

    return Handler


def _pieces(content: bytes, trickle_s: float) -> list[bytes]:
    return [content] if trickle_s == 0 else [content[at : at + 1] for at in range(len(content))]


def _read(raw: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
