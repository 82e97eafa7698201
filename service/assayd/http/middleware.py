"""Around every call: an identity, one log event, and its metrics."""

import time
import uuid
from typing import Any, Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..doorkeeper import Kind
from ..telemetry import Telemetry
from ..tracing import call_span
from .body import KIND
from .entry import ENTRY
from .errors import on_crash

REQUEST_ID: Final = "X-Request-ID"
CLIENT_CLOSED_REQUEST: Final = 499
UNKNOWN: Final = "unknown"
"""Route of a call that did not get as far as the routes, as metrics name it."""

log = structlog.get_logger()


class Observed:
    """Counts, times and logs each call once; never what was in it."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = Headers(scope=scope).get(REQUEST_ID) or uuid.uuid4().hex
        started = time.perf_counter()
        status, answered = 500, False

        async def send_observed(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], True
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        with (
            structlog.contextvars.bound_contextvars(request_id=request_id),
            call_span(Headers(scope=scope)) as span,
        ):
            try:
                await self._app(scope, receive, send_observed)
            except ClientDisconnect:
                status = CLIENT_CLOSED_REQUEST
            except Exception as error:
                # Passed on, the server would log what the error says, which may quote the call.
                if answered:
                    raise
                await (await on_crash(Request(scope), error))(scope, receive, send_observed)
            finally:
                self._observe(scope, status, time.perf_counter() - started, span)
        structlog.contextvars.clear_contextvars()

    def _observe(self, scope: Scope, status: int, elapsed_s: float, span: Any) -> None:
        state = scope.get("state", {})
        route, entry = _route(scope.get("route"), state.get(KIND)), state.get(ENTRY)
        tenant = "" if entry is None else entry.visitor.tenant.name
        self._telemetry.requests.labels(route, str(status), tenant).inc()
        self._telemetry.request_duration_s.labels(route, tenant).observe(elapsed_s)
        if span is not None:
            span.update_name(f"{scope['method']} {route}")
            told = {"http.route": route, "http.response.status_code": status, "assay.tenant": tenant}
            span.set_attributes(told)
        if route not in ("/healthz", "/readyz", "/metrics"):
            log.info("call", route=route, status=status, elapsed_s=round(elapsed_s, 4))


def _route(found: Any, kind: Kind | None) -> str:
    """The template, not the path: an unknown path must not make a metric of its own.

    For who was turned away at the door no route was looked for; others had found it, and were refused.
    """
    if found is not None:
        return str(found.path)
    return UNKNOWN if kind is None else kind.route
