"""Calls the service over HTTP from an event loop: many calls at once on one connection pool."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack, overload
from weakref import WeakKeyDictionary

import httpx

from .attempts import Contact, Flow, Outcome, Part, Pause, Send
from .calls import Asked, Call, Rollouts, probe_call, rewrite_call, segment_call, sequence_call, token_call
from .client import too_large
from .configuration import Configuration, Limits
from .deadline import Deadline
from .replies import Reply
from .wire import Answer, Probed, Rewritten, Scored, SegmentScored, SequenceScored

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class _Here:
    """What belongs to one event loop of one process."""

    pid: int
    http: httpx.AsyncClient
    permits: asyncio.Semaphore


class AsyncClient:
    """One service. Use it as an asynchronous context manager, or await ``aclose``.

    Methods and arguments are those of ``Client``; ``http`` is an ``httpx.AsyncClient``. It may be used from several
    event loops, one after the other or side by side: each has connections of its own.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float | None = None,
        limits: Limits | None = None,
        priority: str | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        if url is None and http is not None and http.base_url.host:
            url = str(http.base_url)
        self._configuration = Configuration.of(url, api_key, timeout_s, limits, priority)
        self._contact = Contact(self.url)
        self._injected = http
        self._closed = False
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Here] = WeakKeyDictionary()

    @property
    def url(self) -> str:
        """Where the service is."""
        return self._configuration.url

    @property
    def timeout_s(self) -> float:
        """How long a call may take that does not say so itself."""
        return self._configuration.timeout_s

    def __reduce__(self) -> tuple[Any, ...]:
        if self._injected is not None:
            raise TypeError("a client with an http of its own cannot be sent to another process")
        return partial(type(self), **self._configuration.arguments), ()

    @overload
    async def score_token(
        self,
        rollouts: Rollouts,
        *,
        task: str,
        method: Literal["critic"] = "critic",
        **asked: Unpack[Asked],
    ) -> Answer[Scored]: ...

    @overload
    async def score_token(
        self, rollouts: Rollouts, *, method: Literal["grm"], **asked: Unpack[Asked]
    ) -> Answer[Probed]: ...

    async def score_token(
        self,
        rollouts: Rollouts,
        *,
        task: str | None = None,
        method: Literal["critic", "grm"] = "critic",
        **asked: Unpack[Asked],
    ) -> Answer[Scored] | Answer[Probed]:
        """See ``Client.score_token``."""
        if method == "grm":
            return await self._answer(probe_call(rollouts, asked))
        return await self._answer(token_call(rollouts, asked, method=method, task=task))

    async def score_segment(
        self, rollouts: Rollouts, *, method: str = "segment", **asked: Unpack[Asked]
    ) -> Answer[SegmentScored]:
        """See ``Client.score_segment``."""
        return await self._answer(segment_call(rollouts, asked, method=method))

    async def score_sequence(self, rollouts: Rollouts, **asked: Unpack[Asked]) -> Answer[SequenceScored]:
        """See ``Client.score_sequence``."""
        return await self._answer(sequence_call(rollouts, asked))

    async def rewrite(
        self,
        rollouts: Rollouts,
        *,
        method: str = "rewrite",
        task: str | None = None,
        rubric: str | None = None,
        **asked: Unpack[Asked],
    ) -> Answer[Rewritten]:
        """See ``Client.rewrite``."""
        return await self._answer(rewrite_call(rollouts, asked, method=method, task=task, rubric=rubric))

    async def aclose(self) -> None:
        """Let the connections of this event loop go; those of loops that ended went with them."""
        self._closed = True
        here = self._by_loop.pop(asyncio.get_running_loop(), None)
        if here is not None and self._injected is None:
            await here.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    def _here(self) -> _Here:
        loop = asyncio.get_running_loop()
        here = self._by_loop.get(loop)
        if here is None or here.pid != os.getpid():
            connections = self._configuration.limits.max_connections
            http = self._injected or httpx.AsyncClient(limits=httpx.Limits(max_connections=connections))
            here = self._by_loop[loop] = _Here(os.getpid(), http, asyncio.Semaphore(connections))
        return here

    async def _answer(self, call: Call[S]) -> Answer[S]:
        if self._closed:
            raise RuntimeError("this client is closed")
        here = self._here()
        begun = call.begin(self._configuration, self._contact)
        deadline = begun.request.deadline
        tasks = [asyncio.create_task(self._drive(here, flow, deadline)) for flow in begun.flows]
        try:
            gathered = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return begun.answer([part for parts in gathered for part in parts])

    async def _drive(self, here: _Here, flow: Flow, deadline: Deadline) -> list[Part]:
        outcome: Outcome = None
        try:
            while True:
                async with _permit(here.permits, deadline):
                    step = flow.send(outcome)
                    outcome = await self._send(here, step) if isinstance(step, Send) else None
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
        except StopIteration as end:
            parts: list[Part] = end.value
            return parts

    async def _send(self, here: _Here, send: Send) -> Outcome:
        try:
            async with asyncio.timeout(send.timeout_s):
                return await self._exchange(here.http, send)
        except TimeoutError:
            return httpx.ReadTimeout("no answer in time")
        except httpx.RequestError as error:
            return error

    async def _exchange(self, http: httpx.AsyncClient, send: Send) -> Outcome:
        content = bytearray()
        async with http.stream(
            "POST", self.url + send.path, content=send.content, headers=send.headers, timeout=send.timeout_s
        ) as response:
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > self._configuration.limits.max_answer_bytes:
                    return too_large(self._configuration)
            return Reply(response.status_code, response.headers, bytes(content))


@asynccontextmanager
async def _permit(permits: asyncio.Semaphore, deadline: Deadline) -> AsyncIterator[None]:
    """A permit to send, or none where the deadline passes first: the flow will see that it has."""
    held = False
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline.remaining_s):
                held = await permits.acquire()
        yield
    finally:
        if held:
            permits.release()
