"""The ASGI application: routes over a running service."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

from fastapi import FastAPI
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from . import __version__
from .domain.failure import Rejected
from .http import compat, errors, openapi, ops, routes
from .http.door import Door
from .http.gate import Gate
from .http.house import House
from .http.middleware import Observed
from .http.receiving import Arriving
from .runtime import open_runtime
from .settings import Settings
from .telemetry import Telemetry


class State(TypedDict):
    """What lives as long as the application and every request can reach."""

    house: House
    arriving: Arriving


def create_app(settings: Settings) -> FastAPI:
    """The service as ``settings`` ask for it; models are loaded when it starts and let go when it stops.

    Raises ``ValueError`` for settings of the foreign formats by which nobody could be asked.
    """
    compat.check(settings.compat)
    telemetry = Telemetry()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        async with open_runtime(settings, telemetry) as runtime, runtime.watch:
            # Models and libraries are some million objects that stay: to look at them all again for garbage, now and
            # then, would stop every call for a second.
            gc.collect()
            gc.freeze()
            try:
                yield {"house": runtime, "arriving": Arriving(max_mb=settings.server.max_arriving_mb)}
            finally:
                gc.unfreeze()

    app = FastAPI(
        title="Assay",
        version=__version__,
        description="Dense rewards as a service: what was each token of this completion worth?",
        lifespan=lifespan,
        # FastAPI's own would tell of calls a second time, and of errors by what they say, which may quote a rollout.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.include_router(routes.router)
    app.include_router(compat.router)
    app.include_router(ops.router)
    app.add_middleware(Door)
    app.add_middleware(Gate)
    app.add_middleware(Observed, telemetry=telemetry)
    app.add_exception_handler(Rejected, errors.on_rejected)
    app.add_exception_handler(ValidationError, errors.on_invalid)
    app.add_exception_handler(HTTPException, errors.on_http_exception)
    app.add_exception_handler(Exception, errors.on_crash)
    openapi.install(app)
    return app
