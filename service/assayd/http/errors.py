"""Errors that end a call, as ``application/problem+json`` (RFC 9457): the one table from kind to status."""

import math
from typing import Final

import msgspec
import structlog
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ..domain.failure import ArrivedTooSlowly, FailureKind, RecipeChanged, Rejected
from ..telemetry import raised_at
from .answers import RECIPE, Problem
from .faults import faults_of

PROBLEM_JSON: Final = "application/problem+json"

STATUS: Final[dict[FailureKind, int]] = {
    FailureKind.UNAUTHENTICATED: 401,
    FailureKind.FORBIDDEN: 403,
    FailureKind.TOO_LONG: 413,
    FailureKind.INVALID: 422,
    FailureKind.OVER_QUOTA: 429,
    FailureKind.INTERNAL: 500,
    FailureKind.ENGINE: 503,
    FailureKind.OVERLOADED: 503,
    FailureKind.PAST_DEADLINE: 504,
}

_STATUS_OF: Final[dict[type[Rejected], int]] = {ArrivedTooSlowly: 408, RecipeChanged: 412}

TITLE: Final[dict[int, str]] = {
    400: "The request is not JSON",
    401: "Who is calling is not known",
    403: "The tenant's terms do not allow this",
    404: "There is nothing here",
    405: "This route does not take that method",
    408: "The request came too slowly",
    412: "The recipe has changed since it was pinned",
    413: "The request is too large",
    422: "The request does not say what to judge",
    429: "The tenant has spent what it may",
    431: "The headers are too large",
    500: "Assay has a defect",
    503: "Assay cannot judge this now",
    504: "There was not enough time",
}

log = structlog.get_logger()


def problem_response(
    status: int,
    kind: str,
    detail: str,
    *,
    pointer: str | None = None,
    retry_after_s: float | None = None,
    errors: list[dict[str, str]] | None = None,
) -> Response:
    """A problem+json answer, with ``Retry-After`` where waiting helps."""
    problem = Problem(
        type=f"urn:assay:problem:{kind}",
        title=TITLE.get(status, "The call was refused"),
        status=status,
        kind=kind,
        detail=detail,
        pointer=pointer,
        retry_after_s=retry_after_s,
        errors=errors,
    )
    headers = {} if retry_after_s is None else {"Retry-After": str(math.ceil(retry_after_s))}
    if status == STATUS[FailureKind.UNAUTHENTICATED]:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(msgspec.json.encode(problem), status, headers, media_type=PROBLEM_JSON)


async def on_rejected(_: Request, error: Exception) -> Response:
    """The whole call was refused on purpose."""
    assert isinstance(error, Rejected)  # noqa: S101 - starlette dispatches by type
    response = problem_response(
        _STATUS_OF.get(type(error)) or STATUS.get(error.kind, 422),
        error.kind,
        error.detail,
        pointer=error.pointer,
        retry_after_s=error.retry_after_s,
    )
    if isinstance(error, RecipeChanged):
        response.headers[RECIPE] = error.current
    if isinstance(error, ArrivedTooSlowly):
        # What is still to come of it would be taken for the next call.
        response.headers["Connection"] = "close"
    return response


async def on_invalid(request: Request, error: Exception) -> Response:
    """The body does not fit the schema: every fault is listed, the first one leads."""
    assert isinstance(error, ValidationError)  # noqa: S101 - starlette dispatches by type
    found = error.errors(include_url=False, include_input=False, include_context=False)
    if found[0]["type"] == "json_invalid":
        return problem_response(400, FailureKind.INVALID, f"the body is not JSON: {found[0]['msg']}")
    shape = getattr(request.state, "shape", None)
    errors = faults_of(found, shape if shape is not None and shape.__name__ == error.title else None)
    first = errors[0]
    return problem_response(
        422,
        FailureKind.INVALID,
        f"{first['pointer'] or 'the body'}: {first['detail']}",
        pointer=first["pointer"],
        errors=errors,
    )


async def on_http_exception(_: Request, error: Exception) -> Response:
    """No such route or method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - starlette dispatches by type
    detail = str(error.detail)
    if error.status_code == 404:
        detail = "there is no such route: /docs lists them"
    elif error.status_code == 405:
        detail = (
            f"this route takes {(error.headers or {}).get('Allow', 'another method')}: /docs says what else"
        )
    return problem_response(error.status_code, FailureKind.INVALID, detail)


async def on_crash(request: Request, error: Exception) -> Response:
    """A defect of ours: said so, with no trace of it on the wire."""
    log.error("request_crashed", route=request.url.path, error=type(error).__name__, where=raised_at(error))
    return problem_response(500, FailureKind.INTERNAL, "an unexpected error; the service's log has it")
