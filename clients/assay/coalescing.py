"""Gathers single-rollout calls of many threads or tasks of one process into few requests.

Most trainers ask for one rollout at a time, hundreds at once. The first call opens a batch and waits a few milliseconds
for others that ask the same (route, method, task, options, tokenizer, deadline); full batches go at once. While
``max_calls`` requests are under way, open batches go on filling, so that a slow service gets fewer and larger ones.
Rewards of whole completions (``score_sequence``) are not gathered: they would be compared with those of strangers.
"""

import asyncio
import copy
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar, Unpack, cast, overload
from weakref import WeakKeyDictionary

from .async_client import AsyncClient
from .calls import Asked
from .chunks import to_json
from .client import Client
from .errors import AssayError, DeadlinePassed, RolloutFailed
from .wire import Answer, Failed, Probed, Rewritten, Scored, SegmentScored, failed_result, read_failed

Rollout = Mapping[str, Any]
S = TypeVar("S")
W = TypeVar("W")


@dataclass(slots=True, eq=False)
class _Batch:
    """Rollouts that go out together; ``waiting`` has one place for each. ``full`` is set when no more fit."""

    full: Any
    rollouts: list[Rollout] = field(default_factory=list)
    waiting: list[Any] = field(default_factory=list)
    closed: bool = False


class _Window:
    """The rules of gathering, whoever waits."""

    def __init__(self, max_rollouts: int, window_s: float, max_calls: int) -> None:
        if max_rollouts < 1 or max_calls < 1 or window_s < 0:
            raise ValueError("max_rollouts and max_calls are 1 at least, window_s is not below 0")
        self.max_rollouts = max_rollouts
        self.window_s = window_s
        self.max_calls = max_calls
        self._open: dict[object, _Batch] = {}

    @property
    def arguments(self) -> dict[str, Any]:
        """What makes the same window again."""
        return {"max_rollouts": self.max_rollouts, "window_s": self.window_s, "max_calls": self.max_calls}

    def join(self, key: object, rollout: Rollout, waiter: object, full: Callable[[], Any]) -> _Batch | None:
        """Put a rollout into the open batch of its kind; gives the batch to whoever opened it, and has to send it."""
        batch = self._open.get(key)
        leads = batch is None or batch.closed
        if batch is None or leads:
            batch = self._open[key] = _Batch(full())
        batch.rollouts.append(rollout if rollout.get("id") is not None else {**rollout, "id": "0"})
        batch.waiting.append(waiter)
        if len(batch.rollouts) >= self.max_rollouts:
            self.close(key, batch)
            batch.full.set()
        return batch if leads else None

    def close(self, key: object, batch: _Batch) -> None:
        """Let nobody else in."""
        batch.closed = True
        if self._open.get(key) is batch:
            del self._open[key]


class Coalescer:
    """Gathers the calls of many threads. Every method takes one rollout and gives its own result.

    The arguments are those of ``Client``, and so is what is raised: an error of a request is raised to each of its
    callers. ``timeout_s`` bounds each call, gathering included.
    """

    def __init__(
        self, client: Client, *, max_rollouts: int = 64, window_s: float = 0.005, max_calls: int = 8
    ) -> None:
        self._client = client
        self._window = _Window(max_rollouts, window_s, max_calls)
        self._lock = threading.Lock()
        self._permits = threading.Semaphore(max_calls)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), self._client, **self._window.arguments), ()

    @overload
    def score_token(
        self, rollout: Rollout, *, task: str, method: Literal["critic"] = "critic", **asked: Unpack[Asked]
    ) -> Scored | Failed: ...

    @overload
    def score_token(
        self, rollout: Rollout, *, method: Literal["grm"], **asked: Unpack[Asked]
    ) -> Probed | Failed: ...

    def score_token(
        self,
        rollout: Rollout,
        *,
        task: str | None = None,
        method: Literal["critic", "grm"] = "critic",
        **asked: Unpack[Asked],
    ) -> Scored | Probed | Failed:
        """See ``Client.score_token``."""
        call: Callable[..., Answer[Scored | Probed]] = cast(Any, self._client.score_token)
        return self._gathered(call, rollout, asked, task=task, method=method)

    def score_segment(
        self, rollout: Rollout, *, method: str = "segment", **asked: Unpack[Asked]
    ) -> SegmentScored | Failed:
        """See ``Client.score_segment``."""
        return self._gathered(self._client.score_segment, rollout, asked, method=method)

    def rewrite(
        self,
        rollout: Rollout,
        *,
        method: str = "rewrite",
        task: str | None = None,
        rubric: str | None = None,
        **asked: Unpack[Asked],
    ) -> Rewritten | Failed:
        """See ``Client.rewrite``."""
        return self._gathered(self._client.rewrite, rollout, asked, method=method, task=task, rubric=rubric)

    def _gathered(
        self, call: Callable[..., Answer[S]], rollout: Rollout, asked: Asked, **named: Any
    ) -> S | Failed:
        timeout_s = _timeout_s(self._client, asked)
        give_up_at_s = time.monotonic() + timeout_s
        key, said = _kind(call, asked, named, timeout_s)
        waiter: Future[S | Failed] = Future()
        with self._lock:
            batch = self._window.join(key, rollout, waiter, threading.Event)
        if batch is not None:
            self._lead(key, batch, partial(call, **said), give_up_at_s)
        try:
            result = waiter.result(max(give_up_at_s - time.monotonic(), 0.0) + self._window.window_s)
        except TimeoutError:
            return _own(_late(rollout, asked, timeout_s), asked)
        return _own(result, asked)

    def _lead(self, key: object, batch: _Batch, call: Callable[..., Answer[S]], give_up_at_s: float) -> None:
        """Send what others and this thread have gathered, and hand everybody what is theirs."""
        with _handing_over_errors(batch):
            batch.full.wait(self._window.window_s)
            if not self._permits.acquire(timeout=max(give_up_at_s - time.monotonic(), 0.0)):
                self._close(key, batch)
                raise DeadlinePassed("the deadline passed while other calls were under way")
            try:
                self._close(key, batch)
                left_s = max(give_up_at_s - time.monotonic(), 1e-3)
                _hand_out(batch, call(batch.rollouts, timeout_s=left_s).results)
            finally:
                self._permits.release()

    def _close(self, key: object, batch: _Batch) -> None:
        with self._lock:
            self._window.close(key, batch)


class AsyncCoalescer:
    """The same for the tasks of an event loop, over an ``AsyncClient``; those of several loops are not mixed."""

    def __init__(
        self, client: AsyncClient, *, max_rollouts: int = 64, window_s: float = 0.005, max_calls: int = 8
    ) -> None:
        self._client = client
        self._window = _Window(max_rollouts, window_s, max_calls)
        self._permits: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), self._client, **self._window.arguments), ()

    @overload
    async def score_token(
        self, rollout: Rollout, *, task: str, method: Literal["critic"] = "critic", **asked: Unpack[Asked]
    ) -> Scored | Failed: ...

    @overload
    async def score_token(
        self, rollout: Rollout, *, method: Literal["grm"], **asked: Unpack[Asked]
    ) -> Probed | Failed: ...

    async def score_token(
        self,
        rollout: Rollout,
        *,
        task: str | None = None,
        method: Literal["critic", "grm"] = "critic",
        **asked: Unpack[Asked],
    ) -> Scored | Probed | Failed:
        """See ``Client.score_token``."""
        call: Callable[..., Any] = self._client.score_token
        result: Scored | Probed | Failed = await self._gathered(
            call, rollout, asked, task=task, method=method
        )
        return result

    async def score_segment(
        self, rollout: Rollout, *, method: str = "segment", **asked: Unpack[Asked]
    ) -> SegmentScored | Failed:
        """See ``Client.score_segment``."""
        result: SegmentScored | Failed = await self._gathered(
            self._client.score_segment, rollout, asked, method=method
        )
        return result

    async def rewrite(
        self,
        rollout: Rollout,
        *,
        method: str = "rewrite",
        task: str | None = None,
        rubric: str | None = None,
        **asked: Unpack[Asked],
    ) -> Rewritten | Failed:
        """See ``Client.rewrite``."""
        result: Rewritten | Failed = await self._gathered(
            self._client.rewrite, rollout, asked, method=method, task=task, rubric=rubric
        )
        return result

    async def _gathered(self, call: Callable[..., Any], rollout: Rollout, asked: Asked, **named: Any) -> Any:
        loop = asyncio.get_running_loop()
        timeout_s = _timeout_s(self._client, asked)
        give_up_at_s = loop.time() + timeout_s
        key, said = _kind(call, asked, named, timeout_s)
        waiter: asyncio.Future[Any] = loop.create_future()
        batch = self._window.join((loop, key), rollout, waiter, asyncio.Event)
        if batch is not None:
            task = loop.create_task(self._lead((loop, key), batch, partial(call, **said), give_up_at_s))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            async with asyncio.timeout_at(give_up_at_s + self._window.window_s):
                result = await waiter
        except TimeoutError:
            return _own(_late(rollout, asked, timeout_s), asked)
        return _own(result, asked)

    async def _lead(self, key: object, batch: _Batch, call: Callable[..., Any], give_up_at_s: float) -> None:
        loop = asyncio.get_running_loop()
        permits = self._permits.setdefault(loop, asyncio.Semaphore(self._window.max_calls))
        with _handing_over_errors(batch):
            try:
                async with asyncio.timeout(self._window.window_s):
                    await batch.full.wait()
            except TimeoutError:
                pass
            try:
                async with asyncio.timeout_at(give_up_at_s):
                    await permits.acquire()
            except TimeoutError:
                self._window.close(key, batch)
                raise DeadlinePassed("the deadline passed while other calls were under way") from None
            try:
                self._window.close(key, batch)
                left_s = max(give_up_at_s - loop.time(), 1e-3)
                _hand_out(batch, (await call(batch.rollouts, timeout_s=left_s)).results)
            finally:
                permits.release()


def _kind(
    call: Callable[..., Any], asked: Asked, named: Mapping[str, Any], timeout_s: float
) -> tuple[bytes, dict[str, Any]]:
    """What makes calls alike, and what they have in common. ``raise_on_failure`` stays each caller's own."""
    shared = {key: value for key, value in asked.items() if key not in ("timeout_s", "raise_on_failure")}
    said = {**shared, **{key: value for key, value in named.items() if value is not None}}
    return to_json([call.__name__, sorted(said.items()), timeout_s]), said


def _timeout_s(client: Client | AsyncClient, asked: Asked) -> float:
    timeout_s = asked.get("timeout_s")
    return client.timeout_s if timeout_s is None else timeout_s


def _hand_out(batch: _Batch, results: Sequence[object]) -> None:
    for waiter, result in zip(batch.waiting, results, strict=True):
        if not waiter.done():
            waiter.set_result(result)


@contextmanager
def _handing_over_errors(batch: _Batch) -> Iterator[None]:
    """Give each caller an error of its own: one that is raised in many threads tells of all of them."""
    try:
        yield
    except BaseException as error:
        for waiter in batch.waiting:
            if not waiter.done():
                waiter.set_exception(_copied(error))
        if not isinstance(error, Exception):
            raise


def _copied(error: BaseException) -> Exception:
    if not isinstance(error, Exception):  # the thread that led was interrupted: not these
        return AssayError(f"the call was given up with its thread ({type(error).__name__})")
    twin = copy.copy(error)
    twin.__cause__ = error
    return twin


def _late(rollout: Rollout, asked: Asked, timeout_s: float) -> Failed:
    error = DeadlinePassed(f"no answer within {timeout_s:g} s")
    if asked.get("on_refusal", "raise") == "raise":
        raise error
    return read_failed(failed_result(str(rollout.get("id", "0")), error.kind, str(error)))


def _own(result: W | Failed, asked: Asked) -> W | Failed:
    if isinstance(result, Failed) and asked.get("raise_on_failure", False):
        raise RolloutFailed(result.id, result.kind, result.detail, result)
    return result
