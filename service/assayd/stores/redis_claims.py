"""Work under way, told to other services on the same Redis, so that what one of them judges the others wait for.

A claim is a name that lives for seconds and holds the token of whoever works. It is kept alive while the work goes on
and taken back when it is done; who dies leaves it to die as well. All is asked and told for many claims at a time, in
scripts that run as one step. Like everything about the cache it may fail at any time: the work is then done twice.
"""

import asyncio
import contextvars
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from redis.asyncio import Redis

from ..domain.storage import Claimed
from ..telemetry import CacheOperation
from .breaker import Breaker
from .gathering import Gathered

TTL_S: Final = 5.0
"""How long a claim outlives its holder."""

_EXTENDED_EVERY_S: Final = TTL_S / 3
_FIRST_LOOK_S: Final = 0.02
_LOOKS_EVERY_S: Final = 0.2
_AT_ONCE: Final = 256
# Few: with each reply as many rollouts go on to be judged in one turn of the event loop, in which no reply is read.
_CLAIMED_AT_ONCE: Final = 32
_COMMANDS_AT_ONCE: Final = 1
CONNECTIONS: Final = _COMMANDS_AT_ONCE + 4
"""Claims, and one each that keeps, looks, takes back and probes."""

_TTL_MS: Final = int(TTL_S * 1000)
_REPLIES: Final[dict[int, Claimed]] = {0: Claimed.THEIRS, 1: Claimed.OURS, 2: Claimed.DONE}
_WAITING: Final = 1
# KEYS are pairs: what is remembered, and the claim to it. ARGV: token, milliseconds. A claim with our own token is a
# leftover: in this process, nobody works on the same twice.
_CLAIM: Final = """
local replies = {}
for i = 1, #KEYS, 2 do
  local holder = redis.call('GET', KEYS[i + 1])
  local reply = 0
  if redis.call('EXISTS', KEYS[i]) == 1 then
    reply = 2
  elseif not holder or holder == ARGV[1] then
    redis.call('SET', KEYS[i + 1], ARGV[1], 'PX', ARGV[2])
    reply = 1
  end
  replies[#replies + 1] = reply
end
return replies
"""
_EXTEND: Final = """
for i = 2, #KEYS, 2 do
  if redis.call('GET', KEYS[i]) == ARGV[1] then redis.call('PEXPIRE', KEYS[i], ARGV[2]) end
end
return #KEYS / 2
"""
_RELEASE: Final = """
for i = 2, #KEYS, 2 do
  if redis.call('GET', KEYS[i]) == ARGV[1] then redis.call('DEL', KEYS[i]) end
end
return #KEYS / 2
"""
_LOOK: Final = """
local replies = {}
for i = 1, #KEYS, 2 do
  local waiting = redis.call('EXISTS', KEYS[i]) == 0 and redis.call('EXISTS', KEYS[i + 1]) == 1
  replies[#replies + 1] = waiting and 1 or 0
end
return replies
"""


class RedisClaims:
    """The claims of one service, among those on its Redis."""

    def __init__(
        self,
        client: Redis,
        prefix: str,
        within: Callable[[Awaitable[Any]], Awaitable[Any]],
        failed: Callable[[CacheOperation, Exception, Breaker], None],
    ) -> None:
        self._prefix = prefix
        self._within = within
        self._failed = failed
        self._token = uuid.uuid4().hex
        self._scripts = {text: client.register_script(text) for text in (_CLAIM, _EXTEND, _RELEASE, _LOOK)}
        self.breaker = Breaker(CacheOperation.CLAIM, self._can_claim)
        self._ask = Gathered(self._claim_all, limit=_CLAIMED_AT_ONCE, at_once=_COMMANDS_AT_ONCE)
        self._held: set[str] = set()
        self._returned: list[str] = []
        self._awaited: dict[str, asyncio.Event] = {}
        self._tasks: dict[Callable[[], Any], asyncio.Task[None]] = {}

    async def claim(self, key: str) -> Claimed:
        """Say that ``key`` is worked on here, unless it is elsewhere or was done there."""
        if self.breaker.open:
            return Claimed.UNKNOWN
        claimed = await self._ask(key)
        if claimed is Claimed.OURS:
            self._held.add(key)
            self._see_to(self._keep)
        return claimed

    def release(self, key: str) -> None:
        """Say that ``key`` is not worked on here any more."""
        self._held.discard(key)
        self._returned.append(key)
        self._see_to(self._return)

    async def released(self, key: str) -> None:
        """Return when ``key`` is done or nobody works on it, or when that cannot be known."""
        done = self._awaited.setdefault(key, asyncio.Event())
        self._see_to(self._look)
        try:
            await done.wait()
        finally:
            self._awaited.pop(key, None)

    async def close(self) -> None:
        """Claim nothing any more."""
        await self.breaker.stop()
        self._returned.extend(self._held)
        self._held.clear()
        for task in self._tasks.values():
            task.cancel()
        if not self.breaker.open:
            await self._return()

    def _see_to(self, work: Callable[[], Any]) -> None:
        """Have it done in the background, once at a time; each ends by itself when there is nothing left to do."""
        task = self._tasks.get(work)
        if task is None or task.done():
            self._tasks[work] = asyncio.create_task(work(), context=contextvars.Context())

    async def _claim_all(self, keys: Sequence[str]) -> Sequence[Claimed]:
        replies = await self._run(_CLAIM, keys)
        return [_claimed(reply) for reply in _each(replies, keys)]

    async def _keep(self) -> None:
        while self._held:
            await asyncio.sleep(_EXTENDED_EVERY_S)
            for keys in _few(self._held):
                await self._run(_EXTEND, keys)

    async def _return(self) -> None:
        while self._returned:
            returned, self._returned = self._returned, []
            for keys in _few(returned):
                await self._run(_RELEASE, keys)

    async def _look(self) -> None:
        pause_s = _FIRST_LOOK_S
        while self._awaited:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LOOKS_EVERY_S)
            for keys in _few(self._awaited):
                replies = _each(await self._run(_LOOK, keys), keys)
                for key, reply in zip(keys, replies, strict=True):
                    if reply != _WAITING and key in self._awaited:
                        self._awaited[key].set()

    async def _can_claim(self) -> bool:
        return await self._ask_redis(CacheOperation.PROBE, _CLAIM, ["probe"]) is not None

    async def _run(self, script: str, keys: Sequence[str]) -> object:
        """What a script says; None where Redis is of no help."""
        return None if self.breaker.open else await self._ask_redis(CacheOperation.CLAIM, script, keys)

    async def _ask_redis(self, operation: CacheOperation, script: str, keys: Sequence[str]) -> object:
        names = [name for key in keys for name in (self._prefix + key, f"{self._prefix}claim:{key}")]
        try:
            told: object = await self._within(self._scripts[script](keys=names, args=[self._token, _TTL_MS]))
        except Exception as error:  # a client that is told rubbish raises anything
            self._failed(operation, error, self.breaker)
            return None
        return told


def _claimed(reply: object) -> Claimed:
    return _REPLIES.get(reply, Claimed.UNKNOWN) if isinstance(reply, int) else Claimed.UNKNOWN


def _each(told: object, keys: Sequence[str]) -> Sequence[object]:
    """One reply per key, whatever was told."""
    return told if isinstance(told, list) and len(told) == len(keys) else [None] * len(keys)


def _few(keys: Iterable[str]) -> Iterator[list[str]]:
    all_keys = list(keys)
    return (all_keys[start : start + _AT_ONCE] for start in range(0, len(all_keys), _AT_ONCE))
