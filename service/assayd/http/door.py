"""Turns away who is known to come in vain, before a route is looked for and its work begins."""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ..domain.failure import Rejected
from .body import receive_body
from .entry import ENTRY, entry_of
from .errors import on_rejected
from .house import house_of


class Door:
    """Around the routes, behind the gate: where others were refused a moment ago, a body is looked at here already.

    Under ten times the load most calls end here, and what each of them costs is taken away from those who are judged.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        request = Request(scope, receive) if ENTRY in scope.get("state", ()) else None
        if request is not None and _suspect(request):
            try:
                await receive_body(request)
            except Rejected as refusal:
                await (await on_rejected(request, refusal))(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _suspect(request: Request) -> bool:
    # Whoever asks by another method is told by the router that there is nothing to wait for.
    if request.method != "POST":
        return False
    caller = entry_of(request).visitor.caller
    return house_of(request).doorkeeper.suspects(caller, request.scope["path"])
