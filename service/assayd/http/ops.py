"""Routes for whoever keeps the service running."""

import msgspec
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from ..domain.readiness import Status
from .house import house_of

router = APIRouter(tags=["operate"])


@router.get("/healthz", response_model=None)
async def healthz() -> Response:
    """Whether the process is alive."""
    return _json({"status": "ok"})


@router.get("/readyz", response_model=None)
async def readyz(request: Request) -> Response:
    """Whether calls should come here: 200, or 503 with the part that is not ready.

    A part that the service can judge without, such as the cache, leaves it at 200 with status `degraded`.
    """
    readiness = await house_of(request).readiness()
    http_status = 503 if readiness.status is Status.NOT_READY else 200
    return _json({"status": readiness.status, "parts": dict(readiness.parts)}, http_status)


@router.get("/metrics", response_model=None)
async def metrics(request: Request) -> Response:
    """All metrics in Prometheus' text format."""
    return Response(house_of(request).telemetry.exposition(), media_type=CONTENT_TYPE_LATEST)


@router.get("/info", response_model=None)
async def info(request: Request) -> Response:
    """Models, prompts and their limits."""
    return _json(dict(await house_of(request).info()))


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
