"""Calls the service over HTTP from an event loop: many calls at once on one connection pool."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

import httpx

from .calls import Call, rewrite_call, segment_call, sequence_call, token_call
from .errors import ServiceUnreachable
from .wire import Answer, Probed, Rewritten, Scored, SegmentScored, SequenceScored

A = TypeVar("A")


class AsyncClient:
    """One service. Use it as an asynchronous context manager, or await ``aclose``. Methods are those of ``Client``."""

    def __init__(self, url: str = "http://127.0.0.1:8000") -> None:
        self._http = httpx.AsyncClient(base_url=url)

    @overload
    async def score_token(
        self,
        rollouts: Sequence[Mapping[str, Any]],
        *,
        task: str,
        method: Literal["critic"] = "critic",
        mode: str = "strict",
        tokenizer: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        timeout_s: float = 60.0,
    ) -> Answer[Scored]: ...

    @overload
    async def score_token(
        self,
        rollouts: Sequence[Mapping[str, Any]],
        *,
        method: Literal["grm"],
        mode: str = "strict",
        tokenizer: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        timeout_s: float = 60.0,
    ) -> Answer[Probed]: ...

    async def score_token(
        self,
        rollouts: Sequence[Mapping[str, Any]],
        *,
        task: str | None = None,
        method: Literal["critic", "grm"] = "critic",
        mode: str = "strict",
        tokenizer: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        timeout_s: float = 60.0,
    ) -> Answer[Scored] | Answer[Probed]:
        """See ``Client.score_token``."""
        return await self._answer(
            token_call(
                rollouts,
                method=method,
                task=task,
                mode=mode,
                tokenizer=tokenizer,
                options=options,
                timeout_s=timeout_s,
            )
        )

    async def score_segment(
        self,
        rollouts: Sequence[Mapping[str, Any]],
        *,
        method: str = "segment",
        mode: str = "strict",
        tokenizer: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        timeout_s: float = 60.0,
    ) -> Answer[SegmentScored]:
        """See ``Client.score_segment``."""
        return await self._answer(
            segment_call(
                rollouts,
                method=method,
                mode=mode,
                tokenizer=tokenizer,
                options=options,
                timeout_s=timeout_s,
            )
        )

    async def score_sequence(
        self,
        rollouts: Sequence[Mapping[str, Any]],
        *,
        tokenizer: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        timeout_s: float = 60.0,
    ) -> Answer[SequenceScored]:
        """See ``Client.score_sequence``."""
        return await self._answer(
            sequence_call(rollouts, tokenizer=tokenizer, options=options, timeout_s=timeout_s)
        )

    async def rewrite(
        self,
        rollouts: Sequence[Mapping[str, Any]],
        *,
        method: str = "rewrite",
        task: str | None = None,
        rubric: str | None = None,
        mode: str = "strict",
        tokenizer: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        timeout_s: float = 60.0,
    ) -> Answer[Rewritten]:
        """See ``Client.rewrite``."""
        return await self._answer(
            rewrite_call(
                rollouts,
                method=method,
                task=task,
                rubric=rubric,
                mode=mode,
                tokenizer=tokenizer,
                options=options,
                timeout_s=timeout_s,
            )
        )

    async def aclose(self) -> None:
        """Let the connections go."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def _answer(self, call: Call[A]) -> A:
        try:
            response = await self._http.post(call.path, json=call.body, timeout=call.timeout_s)
        except httpx.TransportError as error:
            raise ServiceUnreachable(f"no answer from {self._http.base_url}: {error}") from error
        return call.answer(response)
