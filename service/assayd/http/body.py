"""Reads what a request's body says, and gives up the work when the caller has gone."""

import asyncio
from collections.abc import Collection, Coroutine, Mapping
from typing import Any, Final, TypeVar, get_args

import msgspec
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request

from ..domain.failure import FailureKind, Rejected
from ..doorkeeper import Kind
from .entry import entry_of
from .house import house_of
from .receiving import receive
from .schemas import MAX_TIMEOUT_S

M = TypeVar("M", bound=BaseModel)
N = TypeVar("N", bound=BaseModel)
T = TypeVar("T")

KIND: Final = "kind"
"""Where in a request's state it lies with which others it waits."""
_BODY: Final = "body"
_UNREADABLE = (ValueError, RecursionError)
"""Not only msgspec's own errors: text that is not UTF-8, lists in lists without an end. Pydantic says what is wrong."""


class _Peek(msgspec.Struct):
    """What is looked at before anyone has validated the body."""

    method: Any = None
    timeout_s: Any = None


async def read_body(request: Request, model: type[M]) -> M:
    """The body as ``model``.

    Raises what ``receive`` raises, ``Rejected`` (``overloaded``) for a call that is known to be in vain, and pydantic's
    ``ValidationError`` for a body that does not fit. The JSON text is validated as it stands, so that strict types mean
    JSON's types.
    """
    return _fitted(request, model, await _taken(request))


async def read_by_method(request: Request, first: type[M], others: Mapping[str, type[N]]) -> M | N:
    """The body as the model of its ``method``, ``first`` where it names none of ``others``; raises alike.

    A ``method`` that nobody has is refused here: each model knows of its own only.
    """
    body = await _taken(request)
    method = kind_of(request).method
    known = (*get_args(first.model_fields["method"].annotation), *others)
    if method and method not in known:
        detail = f"there is no method {method!r} on this route: one of {', '.join(known)}"
        raise Rejected(FailureKind.INVALID, detail, pointer="/method")
    model: type[M] | type[N] = others.get(method, first)
    return _fitted(request, model, body)


async def read_by_field(request: Request, first: type[M], others: Mapping[str, type[N]]) -> M | N:
    """The body as the model of whichever field of ``others`` is in it, ``first`` where none is; raises alike."""
    body = await _taken(request)
    present = _fields(body)
    model: type[M] | type[N] = next((others[name] for name in others if name in present), first)
    return _fitted(request, model, body)


def _fitted(request: Request, model: type[M], body: bytes) -> M:
    """``body`` as ``model``, which is left with the request for whoever has to say what does not fit."""
    request.state.shape = model
    return model.model_validate_json(body)


async def receive_body(request: Request) -> None:
    """Take the body in, for the route to read.

    Raises what ``receive`` raises, and ``Rejected`` (``overloaded``) for a call that is known to be in vain.
    """
    body = await receive(request, max_mb=house_of(request).settings.server.max_body_mb)
    _refuse_late(request, body)
    request.scope["state"][_BODY] = body


async def _taken(request: Request) -> bytes:
    """The body, which nobody needs twice."""
    state = request.scope["state"]
    if _BODY not in state:
        await receive_body(request)
    body: bytes = state.pop(_BODY)
    return body


def _refuse_late(request: Request, body: bytes) -> None:
    """Raise ``Rejected`` (``overloaded``) for a call that is known to be in vain."""
    house, entry, said = house_of(request), entry_of(request), _peek(body)
    known = isinstance(said.timeout_s, int | float) and 0 < said.timeout_s <= MAX_TIMEOUT_S
    timeout_s = said.timeout_s if known else None
    deadline = entry.deadline(timeout_s, default_s=house.settings.server.default_timeout_s)
    kind = Kind.of(entry.visitor.caller, request.scope["path"], said.method)
    request.scope["state"][KIND] = kind
    house.doorkeeper.refuse_late(kind, deadline)


def kind_of(request: Request) -> Kind:
    """With which others a call waits; known once its body has been read."""
    kind: Kind = request.scope["state"][KIND]
    return kind


def _peek(body: bytes) -> _Peek:
    try:
        return msgspec.json.decode(body, type=_Peek)
    except _UNREADABLE:
        return _Peek()


def _fields(body: bytes) -> Collection[str]:
    """The fields of the body, before anyone has validated it."""
    try:
        return msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except _UNREADABLE:
        return ()


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The outcome of ``work``, which is cancelled as soon as the caller hangs up.

    Raises ``ClientDisconnect`` then. Call it after the body has been read.
    """
    task = asyncio.ensure_future(work)
    hang_up = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({task, hang_up}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return await task
    finally:
        for pending in (task, hang_up):
            pending.cancel()
        await asyncio.gather(task, hang_up, return_exceptions=True)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
