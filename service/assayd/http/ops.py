"""Routes for whoever keeps the service running."""

import msgspec
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from .house import house_of

router = APIRouter(tags=["operate"])


@router.get("/healthz", response_model=None)
async def healthz() -> Response:
    """Whether the process is alive."""
    return _json({"status": "ok"})


@router.get("/readyz", response_model=None)
async def readyz(request: Request) -> Response:
    """Whether models are loaded and stores reachable: 200, or 503 with the part that is not."""
    parts = await house_of(request).readiness()
    ready = all(parts.values())
    return _json({"status": "ok" if ready else "not_ready", "parts": dict(parts)}, 200 if ready else 503)


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
