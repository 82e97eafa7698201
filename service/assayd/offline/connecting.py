"""The service that a run asks: one that listens somewhere, or one in this process. The wire is the same."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import httpx
from starlette.types import Receive, Scope, Send

from ..app import create_app
from ..domain.caller import Priority
from ..http.entry import PRIORITY
from ..settings import Settings, TenantsSettings
from .stopping import Stopped

KEY_VARIABLE: Final = "ASSAY_API_KEY"
_SCHEMES: Final = ("http://", "https://")
_CACHE_MB: Final = 16.0
_IN_MEMORY: Final = "memory://"


@asynccontextmanager
async def connect(url: str | None, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service at ``url``, with the key in the environment; without a URL, of one in this process.

    Raises ``Stopped`` for what is no URL, and where none can be opened here.
    """
    if url is None:
        async with _in_process(settings) as client:
            yield client
        return
    if not url.startswith(_SCHEMES):
        raise Stopped(f"--url {url}: write http://HOST:PORT")
    key = os.environ.get(KEY_VARIABLE)
    # Whoever trains meanwhile goes first.
    headers = {PRIORITY: Priority.BATCH, **({} if key is None else {"Authorization": f"Bearer {key}"})}
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        yield client


@asynccontextmanager
async def _in_process(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(_for_one_run(settings))
    async with AsyncExitStack() as stack:
        try:
            state = await stack.enter_async_context(app.router.lifespan_context(app))
        except (OSError, ValueError) as error:
            raise Stopped(f"no service can be opened here: {error}") from error

        async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "state": dict(state or {})}, receive, send)

        transport = httpx.ASGITransport(app=with_state, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://in-process") as client:
            yield client


def _for_one_run(settings: Settings) -> Settings:
    """Without tenants, for nobody else can call, and without much cache: the journal remembers every row."""
    settings = settings.model_copy(update={"tenants": TenantsSettings()})
    cache = settings.cache
    if cache.url != _IN_MEMORY or cache.max_mb <= _CACHE_MB:
        return settings
    return settings.model_copy(update={"cache": cache.model_copy(update={"max_mb": _CACHE_MB})})
