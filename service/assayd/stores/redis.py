"""Annotations in Redis, for several services or one that restarts. The service goes on without it.

One Redis server, or what speaks like one; no cluster. Whatever it does (slow, gone, full, rubbish), a look-up whose
turn has come ends within ``cache.timeout_s``, if need be with a miss, and what cannot be remembered is forgotten.
How much it keeps is its own business, ``maxmemory`` with ``allkeys-lru``: no client can bound what others share.
"""

import asyncio
import functools
import hashlib
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from .. import __version__
from ..settings import CacheSettings
from ..telemetry import CacheFault, CacheOperation, Telemetry
from . import redis_claims
from .bounded import within
from .breaker import Breaker
from .envelope import FORMAT, Envelope, Rubbish
from .gathering import Gathered
from .redis_faults import SILENT, fault_of

_BYTES_PER_MB: Final = 1_000_000
# Few enough that reading the replies, which is work of ours, does not look like a slow Redis: half a megabyte each
# for 1,400 tokens with entropies.
_ENTRIES_PER_COMMAND: Final = 32
_COMMANDS_AT_ONCE: Final = 4
_CONNECTIONS: Final = 2 * _COMMANDS_AT_ONCE + 2 + redis_claims.CONNECTIONS  # reads, writes, probes
_PROBE_TTL_S: Final = 10

T = TypeVar("T")


class RedisStore:
    """Reads and writes fail apart: a full Redis still gives what it has."""

    def __init__(self, client: Redis, settings: CacheSettings, telemetry: Telemetry) -> None:
        self._client = client
        self._timeout_s = settings.timeout_s
        self._ttl_ms = max(int(settings.ttl_s * 1000), 1)
        self._telemetry = telemetry
        self._prefix = f"assay:{FORMAT}:{_release()}:"
        self._envelope = Envelope(max_bytes=int(settings.max_value_mb * _BYTES_PER_MB))
        self._reads = Breaker(CacheOperation.GET, self._can_read)
        self._writes = Breaker(CacheOperation.PUT, self._can_write)
        self.claims = redis_claims.RedisClaims(client, self._prefix, self._within, self._failed)
        bounds = {"limit": _ENTRIES_PER_COMMAND, "at_once": _COMMANDS_AT_ONCE}
        self._look_up = Gathered(self._get_all, **bounds)
        self._remember = Gathered(self._put_all, **bounds)

    @classmethod
    async def open(cls, settings: CacheSettings, telemetry: Telemetry) -> Self:
        """A store as the settings ask for it; Redis need not be there yet. Raises ``ValueError`` for a wrong URL."""
        password = {"password": settings.password.get_secret_value()} if settings.password else {}
        pool = BlockingConnectionPool.from_url(
            settings.url,
            max_connections=_CONNECTIONS,
            # One clock over everything, ours: see ``bounded``.
            timeout=None,
            socket_timeout=None,
            socket_connect_timeout=None,
            # Once and at once: a connection that Redis closed while it was idle is no failure.
            retry=Retry(NoBackoff(), 1),
            # The older protocol says all that is needed, and proxies and forks know it.
            protocol=2,
            **password,
        )
        return cls(Redis.from_pool(pool), settings, telemetry)

    async def get(self, key: str) -> bytes | None:
        """What was put under ``key``; None when it is unknown or expired, or Redis is of no help."""
        if self._reads.open:
            return None
        name = self._prefix + key
        sealed = await self._look_up(name)
        if sealed is None:
            return None
        try:
            return self._envelope.open(name, sealed)
        except Rubbish:
            self._telemetry.count_cache_error(CacheOperation.GET, CacheFault.RUBBISH)
            return None

    async def put(self, key: str, value: bytes) -> None:
        """Remember ``value`` for ``cache.ttl_s`` if Redis takes it and it is not larger than a value may be."""
        if self._writes.open:
            return
        if len(value) > self._envelope.max_bytes:
            self._telemetry.count_cache_error(CacheOperation.PUT, CacheFault.TOO_LARGE)
            return
        name = self._prefix + key
        await self._remember((name, self._envelope.seal(name, value)))

    async def ready(self) -> bool:
        """Whether Redis gives and takes."""
        if self._reads.open or self._writes.open:
            return False
        return all(await asyncio.gather(self._can_read(), self._can_write()))

    async def close(self) -> None:
        """Let go of every connection."""
        await self.claims.close()
        await self._reads.stop()
        await self._writes.stop()
        try:
            await self._within(self._client.aclose())
        except Exception as error:
            self._telemetry.count_cache_error(CacheOperation.CLOSE, fault_of(error))

    async def _get_all(self, names: Sequence[str]) -> Sequence[bytes | None]:
        # Asked again: it may have opened while these waited for their turn.
        if self._reads.open:
            return [None] * len(names)
        try:
            replies = await self._within(self._client.mget(names))
            return [_sealed(reply) for _, reply in zip(names, replies, strict=True)]
        except Exception as error:  # a client that is told rubbish raises anything
            self._failed(CacheOperation.GET, error, self._reads)
            return [None] * len(names)

    async def _put_all(self, entries: Sequence[tuple[str, bytes]]) -> Sequence[None]:
        if self._writes.open:
            return [None] * len(entries)
        try:
            replies = await self._within(self._pipeline(entries))
            for fault in (reply for reply in replies if isinstance(reply, Exception)):
                raise fault
        except Exception as error:
            self._failed(CacheOperation.PUT, error, self._writes)
        return [None] * len(entries)

    async def _pipeline(self, entries: Sequence[tuple[str, bytes]]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for name, sealed in entries:
            pipeline.set(name, sealed, px=self._ttl_ms)
        return await pipeline.execute(raise_on_error=False)

    async def _can_read(self) -> bool:
        return await self._succeeds(self._client.get(self._prefix + "probe"), self._reads)

    async def _can_write(self) -> bool:
        return await self._succeeds(
            self._client.set(self._prefix + "probe", b"", ex=_PROBE_TTL_S), self._writes
        )

    async def _succeeds(self, command: Awaitable[object], breaker: Breaker) -> bool:
        try:
            await self._within(command)
        except Exception as error:
            self._failed(CacheOperation.PROBE, error, breaker)
            return False
        return True

    def _failed(self, operation: CacheOperation, error: Exception, breaker: Breaker) -> None:
        fault = fault_of(error)
        self._telemetry.count_cache_error(operation, fault)
        # Who does not answer one operation will not answer the other; who refuses one may well do the other.
        every = (self._reads, self._writes, self.claims.breaker)
        for tripped in every if fault in SILENT else (breaker,):
            tripped.trip(fault)

    async def _within(self, command: Awaitable[T]) -> T:
        return await within(command, self._timeout_s)


def _sealed(reply: object) -> bytes | None:
    if reply is None or isinstance(reply, bytes):
        return reply
    raise Rubbish("neither a value nor none")


@functools.cache
def _release() -> str:
    """The service version and a digest of its code: what other code has encoded is never decoded by this one."""
    root = Path(__file__).parents[1]
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(root.rglob("*.py")):
        code = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(code)}\n".encode())
        digest.update(code)
    return f"{__version__}-{digest.hexdigest()}"
