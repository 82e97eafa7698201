"""What was spent in the last so many seconds: sliding windows, in Redis where the cache is, else in memory.

Counted by the library ``limits``, whose sliding window keeps two numbers however large a cost is (its moving window
keeps one entry a token). While Redis is away the windows go on in memory, where all that this process has counted
stands already; a breaker asks for Redis in the background.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar, cast

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage, SlidingWindowCounterSupport
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from ..settings import CacheSettings
from ..telemetry import Telemetry
from .bounded import within
from .breaker import Breaker

T = TypeVar("T")

_SCHEMES: Final = {"redis": "async+redis", "rediss": "async+rediss", "unix": "async+redis+unix"}
_PREFIX: Final = "assay:quotas"


@dataclass(frozen=True, slots=True)
class Window:
    """At most ``amount`` in any ``per_s`` seconds, counted under ``name``."""

    name: str
    amount: int
    per_s: int

    @property
    def item(self) -> RateLimitItemPerSecond:
        """The same in the library's words."""
        return RateLimitItemPerSecond(self.amount, self.per_s, namespace=self.name)


@dataclass(frozen=True, slots=True)
class Level:
    """How full a window is: what was counted in the last one fades out while the current one fills.

    ``left_s`` is the time until the current one becomes the last one.
    """

    previous: int
    current: int
    left_s: float

    def used(self, per_s: float, after_s: float = 0.0) -> float:
        """What counts ``after_s`` seconds from now, if nothing is added until then."""
        if after_s < self.left_s:
            return self.previous * (self.left_s - after_s) / per_s + self.current
        return self.current * max(1 - (after_s - self.left_s) / per_s, 0.0)

    def wait_s(self, window: Window, cost: int) -> float:
        """How long until ``cost`` fits, which it does into an empty window, if nothing is added until then."""
        room = window.amount - cost
        if self.used(window.per_s) <= room:
            return 0.0
        if self.current <= room:
            return self.left_s - (room - self.current) * window.per_s / self.previous
        return self.left_s + window.per_s * (1 - room / self.current)


_PROBE: Final = Window("probe", 1, 1)


class Windows:
    """Counts for several services together, as long as the store that they share answers."""

    def __init__(self, shared: RedisStorage | None, timeout_s: float, telemetry: Telemetry) -> None:
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared = shared
        self._theirs = None if shared is None else SlidingWindowCounterRateLimiter(shared)
        self._timeout_s = timeout_s
        self._breaker = Breaker("quota", self._probe)
        telemetry.quotas_shared.set_function(lambda: not self.is_alone)

    @classmethod
    def open(cls, settings: CacheSettings, telemetry: Telemetry) -> Self:
        """Windows where the cache is; a Redis need not be there yet."""
        scheme, _, rest = settings.url.partition("://")
        if scheme not in _SCHEMES:
            return cls(None, settings.timeout_s, telemetry)
        options: dict[str, Any] = {"protocol": 2, "key_prefix": _PREFIX}
        if settings.password:
            options["password"] = settings.password.get_secret_value()
        shared = RedisStorage(f"{_SCHEMES[scheme]}://{rest}", implementation="redispy", **options)
        return cls(shared, settings.timeout_s, telemetry)

    @property
    def is_alone(self) -> bool:
        """Whether this process counts for itself."""
        return self._shared is None or self._breaker.open

    async def take(self, window: Window, holder: str, cost: int) -> bool:
        """Count ``cost`` for ``holder``, unless it does not fit."""
        taken = await self._ask(lambda theirs: theirs.hit(window.item, holder, cost=cost))
        if taken is False:
            return False
        # What this process has counted is what it goes on with when the others' store goes away.
        fits_here = await self._own.hit(window.item, holder, cost=cost)
        return fits_here if taken is None else taken

    async def give_back(self, window: Window, holder: str, cost: int) -> None:
        """Count ``cost`` no more, as far as it stands in the current window: what is older fades by itself."""
        await self._ask(lambda theirs: _give_back(theirs, window, holder, cost))
        await _give_back(self._own, window, holder, cost)

    async def level(self, window: Window, holder: str) -> Level:
        """How full the window of ``holder`` is."""
        level = await self._ask(lambda theirs: _level(theirs, window, holder))
        return await _level(self._own, window, holder) if level is None else level

    async def ready(self) -> bool:
        """Whether everybody who should count together does."""
        return self._shared is None or (not self.is_alone and await self._probe())

    async def close(self) -> None:
        """Let go of every connection."""
        await self._breaker.stop()
        if self._shared is not None:
            with suppress(Exception):
                client: Any = cast(RedispyBridge, self._shared.bridge).get_connection()
                await within(client.aclose(), self._timeout_s)

    async def _probe(self) -> bool:
        # Nothing is counted, but written: one that is full answers pings.
        return bool(await self._ask_them(lambda theirs: theirs.hit(_PROBE.item, "probe", cost=0)))

    async def _ask(self, question: Callable[[SlidingWindowCounterRateLimiter], Awaitable[T]]) -> T | None:
        """The answer of the store that is shared; None where there is none or it does not answer."""
        return None if self.is_alone else await self._ask_them(question)

    async def _ask_them(
        self, question: Callable[[SlidingWindowCounterRateLimiter], Awaitable[T]]
    ) -> T | None:
        if self._theirs is None:
            return None
        try:
            return await within(question(self._theirs), self._timeout_s)
        except Exception as error:  # a client that is told rubbish raises anything
            self._breaker.trip(type(error).__name__)
            return None


async def _give_back(
    windows: SlidingWindowCounterRateLimiter, window: Window, holder: str, cost: int
) -> None:
    # Never below nothing, or the window would let in more than its amount later on.
    counted = min(cost, (await _level(windows, window, holder)).current)
    if counted > 0:
        await windows.hit(window.item, holder, cost=-counted)


async def _level(windows: SlidingWindowCounterRateLimiter, window: Window, holder: str) -> Level:
    store = cast(SlidingWindowCounterSupport, windows.storage)
    key, per_s = window.item.key_for(holder), window.per_s
    previous, _, current, expires_s = await store.get_sliding_window(key, per_s)
    return Level(previous, current, max(expires_s - per_s, 0.0))
