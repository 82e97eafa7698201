"""One connection, which neither a slow client nor one that came too many can hold for long.

uvicorn bounds how long a connection may be idle between two calls, and nothing else. Here a call has to arrive within
``server.header_timeout_s`` and ``server.body_timeout_s`` (the routes answer 408 by themselves while they read it), and
its answer has to be read within ``server.answer_timeout_s``.
"""

import asyncio
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ..domain.failure import FailureKind
from ..http.errors import problem_response
from ..http.middleware import UNKNOWN
from ..telemetry import Telemetry
from .doors import Doors

PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Answered however full it is: a probe that fails would have the service killed for being busy."""
NOBODY: Final = ""
"""Tenant of a call that did not get as far as the gate, as metrics name it."""

_MAX_HEADER_BYTES: Final = 65_536
_GRACE_S: Final = 2.0
"""What a route has to say itself that a body came too slowly."""
_RETRY_AFTER_S: Final = 1.0
_LINGER_S: Final = 1.0
"""How long a client may take to notice that it was refused."""
_FRESH_S: Final = 0.5
"""How long a new connection may be expected to say something at once."""


class _Arrived(Enum):
    """How much of the next call is here."""

    NOTHING = auto()
    SOME_HEADERS = auto()
    HEADERS = auto()
    ALL = auto()


class Connection(HttpToolsProtocol):
    """uvicorn's protocol, with limits; ``server_state`` is the ``Doors`` it came through."""

    server_state: Doors

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = self.server_state.settings
        self._telemetry: Telemetry = app_state["house"].telemetry
        self._arrived = _Arrived.NOTHING
        self._header_bytes = 0
        self._arrival: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._surplus = False
        self._refused = False
        self._came_s = self.loop.time()

    @property
    def busy(self) -> bool:
        """Whether a call is on its way in, under judgement, or on its way out; who has just come will say one."""
        if self.cycle is None and self._arrived is _Arrived.NOTHING:
            return self.loop.time() - self._came_s < _FRESH_S
        answering = self.cycle is not None and not self.cycle.response_complete
        return answering or self._arrived in (_Arrived.SOME_HEADERS, _Arrived.HEADERS)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Somebody has come."""
        super().connection_made(transport)
        self._telemetry.connections.set(len(self.connections))
        if self.server_state.overrun:
            transport.abort()
            return
        self._surplus = self.server_state.full
        if self._surplus:
            self.app = _refusing(self.app, self._telemetry)
        self._expect(_Arrived.NOTHING, self._limits.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Somebody has gone."""
        super().connection_lost(exc)
        self._telemetry.connections.set(len(self.connections))
        for timer in (self._arrival, self._unread):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """A piece of a call is here."""
        if self._refused:
            return
        if self._arrived in (_Arrived.NOTHING, _Arrived.ALL):
            self._header_bytes = 0
            self._expect(_Arrived.SOME_HEADERS, self._limits.header_timeout_s)
        if self._arrived is _Arrived.SOME_HEADERS:
            if self._header_bytes > _MAX_HEADER_BYTES:
                self._refuse(431, FailureKind.TOO_LONG, f"more than {_MAX_HEADER_BYTES} bytes of headers")
                return
            self._header_bytes += len(data)
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """It is known what is called."""
        if not self.flow.write_paused:
            self._stop_watching()
        self._expect(_Arrived.HEADERS, self._limits.body_timeout_s + _GRACE_S)
        super().on_headers_complete()
        if self._surplus or self.server_state.closing:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """All of a call is here."""
        super().on_message_complete()
        self._header_bytes = 0
        answered = self.cycle is not None and self.cycle.response_complete
        # Nobody else waits for the next call, where the answer was given before the body had come.
        self._expect(_Arrived.ALL, self.timeout_keep_alive if answered else None)

    def on_response_complete(self) -> None:
        """An answer was handed over to the transport."""
        super().on_response_complete()
        if self.transport.get_write_buffer_size() > 0:
            self._watch()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is told."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._stop_watching()

    def say_last(self) -> None:
        """Let the answer that is to come, if any, be the last one on this connection."""
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        """It is not HTTP."""
        self._refuse(400, FailureKind.INVALID, f"not a call by HTTP: {msg}")

    def _expect(self, arrived: _Arrived, within_s: float | None) -> None:
        """Note what is here; the next piece has to come within a time."""
        self._arrived = arrived
        if self._arrival is not None:
            self._arrival.cancel()
        self._arrival = None if within_s is None else self.loop.call_later(within_s, self._late, within_s)

    def _late(self, within_s: float) -> None:
        answering = self.cycle is not None and not self.cycle.response_complete
        if self.flow.read_paused or (answering and self._arrived is _Arrived.SOME_HEADERS):
            # It is not the client who keeps us waiting, or another call of his is under way.
            self._expect(self._arrived, within_s)
        elif self._arrived is _Arrived.SOME_HEADERS:
            self._refuse(408, FailureKind.PAST_DEADLINE, f"no end of the headers within {within_s:g} s")
        elif self._arrived is _Arrived.HEADERS:
            self.transport.abort()
        else:
            self.transport.close()

    def _watch(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(self._limits.answer_timeout_s, self._give_up)

    def _stop_watching(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _give_up(self) -> None:
        self._unread = None
        if self.transport.get_write_buffer_size() > 0:
            self.transport.abort()

    def _refuse(self, status: int, kind: FailureKind, detail: str) -> None:
        """Answer without asking the application, and hang up."""
        self._telemetry.requests.labels(UNKNOWN, str(status), NOBODY).inc()
        response = problem_response(status, kind, detail)
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode(), b"connection: close"]
        lines += [name + b": " + value for name, value in response.raw_headers]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(response.body)]))
        # What still comes is dropped, not answered by a reset: that would take the answer away from the client.
        self._refused = True
        self.transport.write_eof()
        self._expect(_Arrived.NOTHING, None)
        self._arrival = self.loop.call_later(_LINGER_S, self.transport.abort)


def _refusing(app: ASGIApp, telemetry: Telemetry) -> ASGIApp:
    """What answers on a connection too many."""
    too_many: Final[Response] = problem_response(
        503,
        FailureKind.OVERLOADED,
        "too many connections are open: use fewer, or come again later",
        retry_after_s=_RETRY_AFTER_S,
    )

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") in PROBES:
            await app(scope, receive, send)
            return
        telemetry.requests.labels(UNKNOWN, str(too_many.status_code), NOBODY).inc()
        await too_many(scope, receive, send)

    return refuse
