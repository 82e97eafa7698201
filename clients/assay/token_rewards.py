"""Asks for rewards on behalf of adapters: for single samples, or for a batch in one call.

Single calls that are under way at once in one process travel together (``coalescing``).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal
from weakref import WeakKeyDictionary

from .async_client import AsyncClient
from .coalescing import AsyncCoalescer
from .errors import Unaligned
from .policy import FailurePolicy
from .rollouts import Prompt, rollout
from .wire import Failed, Probed, Scored, SegmentScored, SequenceScored, failed_result, read_failed

Route = Literal["token", "segment"]
Judged = tuple[float, ...] | Failed
"""One reward per completion token (of ``SequenceRewards``: one in all), or why there are none."""
Result = Scored | Probed | SegmentScored | SequenceScored | Failed

_connections: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str | None, AsyncCoalescer]]] = (
    WeakKeyDictionary()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewards:
    """Which rewards to ask for, and of whom. Use ``TokenRewards`` or ``SequenceRewards``.

    ``url``: None is ``ASSAY_URL``, or the usual one. ``tokenizer`` is the policy's, ``{"name", "revision"}``, where the
    service is to load it: then ids are sent. Without, text and the place of each token in it are worked out in the
    trainer's process, and the service needs no tokenizer. The others are those of the ``Client``'s methods.
    """

    route: str
    task: str | None = None
    method: str | None = None
    mode: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: Mapping[str, str] | None = None
    url: str | None = None

    async def judge_batch(
        self,
        prompts: Sequence[Prompt],
        token_ids: Sequence[Sequence[int]],
        *,
        tokenizer: Any,
        policy: FailurePolicy,
        fields: Sequence[Mapping[str, Any]],
    ) -> list[Judged]:
        """The rewards of each completion, in order, asked for in one call; ``judge`` says the rest.

        ``fields`` are those of each rollout besides. The call has a connection of its own: where nobody answers, it is
        over after a few attempts, and at ``policy.timeout_s`` in any case.
        """
        sent = await asyncio.to_thread(
            lambda: [
                self._rollout(prompt, ids, tokenizer, said)
                for prompt, ids, said in zip(prompts, token_ids, fields, strict=True)
            ]
        )
        rollouts = [one for one in sent if not isinstance(one, Failed)]
        results: Iterator[Result] = iter(())
        if rollouts:
            async with AsyncClient(self.url) as client:
                answer = await self._score(client, policy)(rollouts)
            results = iter(answer.results)
        return [
            _judged(one if isinstance(one, Failed) else next(results), len(ids))
            for one, ids in zip(sent, token_ids, strict=True)
        ]

    def _rollout(
        self, prompt: Prompt, token_ids: Sequence[int], tokenizer: Any, fields: Mapping[str, Any]
    ) -> dict[str, Any] | Failed:
        local = None if self.tokenizer else tokenizer
        try:
            return rollout(prompt, token_ids=token_ids, tokenizer=local, **fields)
        except Unaligned as error:
            return failed("invalid", str(error), str(fields.get("id", "0")))

    def _score(
        self, client: AsyncClient | AsyncCoalescer, policy: FailurePolicy
    ) -> Callable[..., Awaitable[Any]]:
        """The client's method, with all that a call says besides what is to be judged."""
        said = {"task": self.task, "method": self.method, "mode": self.mode, "tokenizer": self.tokenizer}
        asked = {name: value for name, value in said.items() if value is not None}
        return partial(
            getattr(client, f"score_{self.route}"), options=dict(self.options), **asked, **policy.asked
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRewards(Rewards):
    """One reward per completion token, by ``route`` token or segment: see ``Rewards``."""

    route: Route = "token"

    def __post_init__(self) -> None:
        if self.route not in ("token", "segment"):
            raise ValueError(
                f"route is token or segment, not {self.route!r}: others have no reward per token"
            )

    async def judge(
        self,
        prompt: Prompt,
        token_ids: Sequence[int],
        *,
        tokenizer: Any,
        policy: FailurePolicy,
        **fields: Any,
    ) -> Judged:
        """The rewards of one completion: one per id, special tokens among them, in order.

        ``tokenizer`` is the trainer's own object. ``fields`` are the rollout's others: ``id``, ``reference``,
        ``truncated``, ... Within ``policy.timeout_s``; nothing that the service does raises.
        """
        sent = await asyncio.to_thread(self._rollout, prompt, token_ids, tokenizer, fields)
        if isinstance(sent, Failed):
            return sent
        return _judged(await self._score(_connected(self.url), policy)(sent), len(token_ids))


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceRewards(Rewards):
    """One reward per completion, by route sequence: ``judge_batch`` gives rows of one number."""

    route: Literal["sequence"] = "sequence"


def failed(kind: str, detail: str, id: str = "0") -> Failed:
    """A failure as the service would put it; for those that are found, or carried, on the trainer's side."""
    return read_failed(failed_result(id, kind, detail))


def messages(prompt: Any) -> Prompt:
    """A trainer's prompt as the service takes it: text, or turns of text; images are left out."""
    if isinstance(prompt, str):
        return prompt
    return [{"role": turn["role"], "content": _text(turn.get("content"))} for turn in prompt]


def _judged(result: Result, tokens: int) -> Judged:
    if isinstance(result, Failed):
        return result
    if isinstance(result, SequenceScored):
        return (result.reward,)
    if len(result.rewards) != tokens:
        return failed("unaligned", f"{len(result.rewards)} rewards for {tokens} tokens", result.id)
    return result.rewards


def _text(content: Any) -> str:
    if isinstance(content, str) or content is None:
        return content or ""
    return "".join(block.get("text", "") for block in content if isinstance(block, Mapping))


def _connected(url: str | None) -> AsyncCoalescer:
    """The connections of this event loop."""
    here = _connections.setdefault(asyncio.get_running_loop(), {})
    if url not in here:
        here[url] = AsyncCoalescer(AsyncClient(url))
    return here[url]
