"""Calls the service over HTTP, and waits."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

import httpx

from .calls import Call, rewrite_call, segment_call, sequence_call, token_call
from .errors import ServiceUnreachable
from .wire import Answer, Probed, Rewritten, Scored, SegmentScored, SequenceScored

A = TypeVar("A")


class Client:
    """One service. Use it as a context manager, or call ``close``."""

    def __init__(self, url: str = "http://127.0.0.1:8000") -> None:
        self._http = httpx.Client(base_url=url)

    @overload
    def score_token(
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
    def score_token(
        self,
        rollouts: Sequence[Mapping[str, Any]],
        *,
        method: Literal["grm"],
        mode: str = "strict",
        tokenizer: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        timeout_s: float = 60.0,
    ) -> Answer[Probed]: ...

    def score_token(
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
        """One reward per token of each rollout's completion, or why there is none.

        Method ``critic`` pays by what a critic marked in a ``task``; ``grm`` by how likely a rewriter would have
        written each token, and needs every rollout's ``reference``. Raises ``CallRejected`` when the call as a whole
        is refused and ``ServiceUnreachable`` when nobody answers.
        """
        return self._answer(
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

    def score_segment(
        self,
        rollouts: Sequence[Mapping[str, Any]],
        *,
        method: str = "segment",
        mode: str = "strict",
        tokenizer: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        timeout_s: float = 60.0,
    ) -> Answer[SegmentScored]:
        """One reward per token of each rollout's completion, by the worth of the segment it is in.

        A rollout may bring its policy's ``entropies``. Raises like ``score_token``.
        """
        return self._answer(
            segment_call(
                rollouts,
                method=method,
                mode=mode,
                tokenizer=tokenizer,
                options=options,
                timeout_s=timeout_s,
            )
        )

    def score_sequence(
        self,
        rollouts: Sequence[Mapping[str, Any]],
        *,
        tokenizer: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        timeout_s: float = 60.0,
    ) -> Answer[SequenceScored]:
        """One reward for each rollout's completion, its advantage, and how often to draw it.

        A rollout may bring its ``value`` or its ``group``, see the option ``value_source``. Raises like
        ``score_token``.
        """
        return self._answer(
            sequence_call(rollouts, tokenizer=tokenizer, options=options, timeout_s=timeout_s)
        )

    def rewrite(
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
        """The smallest correction of each rollout's completion.

        Method ``rewrite`` goes by every rollout's ``reference``; ``critique`` by the remarks of a critic, whose
        ``task`` and ``rubric`` may be named. Raises like ``score_token``.
        """
        return self._answer(
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

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()

    def _answer(self, call: Call[A]) -> A:
        try:
            response = self._http.post(call.path, json=call.body, timeout=call.timeout_s)
        except httpx.TransportError as error:
            raise ServiceUnreachable(f"no answer from {self._http.base_url}: {error}") from error
        return call.answer(response)
