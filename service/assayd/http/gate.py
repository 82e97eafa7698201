"""Lets in who shows a key, before any of the body is read. What is not named here is closed, new routes included."""

import math
from typing import Final

import structlog.contextvars
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..admission import Tenant
from ..domain.caller import calling
from ..domain.failure import FailureKind, Rejected
from .entry import ENTRY, Entry
from .errors import on_rejected
from .house import House, house_of

# Probes bring no key, and what the API looks like is no secret.
_OPEN: Final = frozenset({"/healthz", "/readyz", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"})
# They tell of all tenants, or concern them all.
_OPERATE: Final = frozenset({"/metrics", "/sleep", "/wake_up", "/is_sleeping"})
_READ: Final = frozenset({"/info"})


class Gate:
    """Around every route: the call's ``Entry`` is in its state, and its answer tells what is left of quotas."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http" or scope["path"] in _OPEN:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        house = house_of(request)
        try:
            entry = Entry.of(Headers(scope=scope), house.admission)
            _check(entry.visitor.tenant, scope["path"])
        except Rejected as refusal:
            await (await on_rejected(request, refusal))(scope, receive, send)
            return
        tenant = entry.visitor.tenant
        structlog.contextvars.bind_contextvars(tenant=tenant.name)
        scope["state"][ENTRY] = entry
        with calling(entry.visitor.caller):
            await self._app(scope, receive, _telling(house, tenant, send) if tenant.terms.quotas else send)


def _check(tenant: Tenant, path: str) -> None:
    if path in _OPERATE:
        if not tenant.terms.operator:
            raise Rejected(
                FailureKind.FORBIDDEN, f"{path} wants the key of an operator, which {tenant.name} is not"
            )
    elif path not in _READ and tenant.forbids_route(path):
        raise Rejected(FailureKind.FORBIDDEN, f"tenant {tenant.name} may not call {path}")


def _telling(house: House, tenant: Tenant, send: Send) -> Send:
    """The fields ``RateLimit`` and ``RateLimit-Policy`` of draft-ietf-httpapi-ratelimit-headers-10 on every answer."""

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            standings = await house.admission.standings(tenant)
            headers = MutableHeaders(scope=message)
            headers["RateLimit-Policy"] = ", ".join(
                f'"{one.quota.name}";q={one.quota.amount};w={one.quota.per_s}' for one in standings
            )
            headers["RateLimit"] = ", ".join(
                f'"{one.quota.name}";r={one.remaining};t={math.ceil(one.reset_s)}' for one in standings
            )
        await send(message)

    return told
