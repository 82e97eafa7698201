"""Routes for whoever keeps the service running."""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from ..domain.failure import FailureKind, Rejected
from ..domain.ports import Tended
from ..domain.readiness import Status
from .house import house_of
from .pinning import pinnable

_LEVELS: Final = ("1", "2")
_LEVEL: Final = {"name": "level", "in": "query", "schema": {"enum": [1, 2], "default": 1}}

router = APIRouter(tags=["operate"])


@router.get("/healthz", response_model=None)
async def healthz() -> Response:
    """Whether the process is alive."""
    return _json({"status": "ok"})


@router.get("/readyz", response_model=None)
async def readyz(request: Request) -> Response:
    """Whether calls should come here: 200, or 503 with the part that is not ready.

    A part that the service can judge without, such as the cache, leaves it at 200 with status `degraded`. A service
    that was told to end says 503 with status `draining`, and answers for a while whoever calls nevertheless.
    `complaints` says what is wrong: a model is asked its canary, and has to answer as it once did.
    """
    readiness = await house_of(request).readiness()
    http_status = 503 if readiness.status in (Status.NOT_READY, Status.DRAINING) else 200
    said = {"status": readiness.status, "parts": readiness.parts, "complaints": readiness.complaints}
    return _json(said, http_status)


@router.get("/metrics", response_model=None)
async def metrics(request: Request) -> Response:
    """All metrics in Prometheus' text format."""
    return Response(house_of(request).telemetry.exposition(), media_type=CONTENT_TYPE_LATEST)


@router.get("/info", response_model=None)
async def info(request: Request) -> Response:
    """Models, prompts, limits, and the recipes of calls that name neither options nor tokenizer."""
    house = house_of(request)
    return _json({**await house.info(), "recipes": await pinnable(house)})


@router.post("/sleep", response_model=None, openapi_extra={"parameters": [_LEVEL]})
async def sleep(request: Request) -> Response:
    """Let the engines with `vllm.sleep_mode` go of their GPU memory, as vLLM's own route does.

    What is under way is answered first. Until `POST /wake_up` they answer nothing, and `/readyz` says so. `level` 1
    keeps the weights in the host's memory, 2 drops them.
    """
    sleepers, level = _sleepers(request), request.query_params.get("level", "1")
    if level not in _LEVELS:
        raise Rejected(FailureKind.INVALID, f"level is {level!r}: 1 or 2")
    await asyncio.gather(*(engine.sleep(int(level)) for engine in sleepers))
    return _asleep(sleepers)


@router.post("/wake_up", response_model=None)
async def wake_up(request: Request) -> Response:
    """Let the sleeping engines take their GPU memory again."""
    sleepers = _sleepers(request)
    await asyncio.gather(*(engine.wake() for engine in sleepers))
    return _asleep(sleepers)


@router.get("/is_sleeping", response_model=None)
async def is_sleeping(request: Request) -> Response:
    """Whether any engine sleeps."""
    return _asleep(house_of(request).sleepers)


def _sleepers(request: Request) -> Sequence[Tended]:
    sleepers = house_of(request).sleepers
    if not sleepers:
        raise Rejected(
            FailureKind.INVALID,
            "no engine of this service may be sent to sleep: set ASSAY_CRITIC__VLLM__SLEEP_MODE=true, or that of "
            "another section with engine vllm",
        )
    return sleepers


def _asleep(sleepers: Sequence[Tended]) -> Response:
    return _json({"is_sleeping": any(engine.asleep for engine in sleepers)})


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
