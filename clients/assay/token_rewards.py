"""Token rewards of one rollout at a time: what adapters use whose trainers hand over single samples.

Calls that are under way at once in one process travel together (``coalescing``).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from weakref import WeakKeyDictionary

from .async_client import AsyncClient
from .coalescing import AsyncCoalescer
from .errors import Unaligned
from .policy import FailurePolicy
from .rollouts import Prompt, rollout
from .wire import Failed, Probed, Scored, SegmentScored

Route = Literal["token", "segment"]
Judged = tuple[float, ...] | Failed
"""One reward per completion token, or why there are none."""

_connections: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str | None, AsyncCoalescer]]] = (
    WeakKeyDictionary()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRewards:
    """Which rewards to ask for, and of whom.

    ``route``, ``task``, ``method``, ``mode`` and ``options`` are those of ``Client.score_token`` and
    ``Client.score_segment``. ``url``: None is ``ASSAY_URL``, or the usual one. ``tokenizer`` is the policy's,
    ``{"name", "revision"}``, where the service is to load it: then ids are sent. Without, text and the place of each
    token in it are worked out in the trainer's process, and the service needs no tokenizer.
    """

    route: Route = "token"
    task: str | None = None
    method: str | None = None
    mode: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: Mapping[str, str] | None = None
    url: str | None = None

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
        try:
            sent = await asyncio.to_thread(
                rollout,
                prompt,
                token_ids=token_ids,
                tokenizer=None if self.tokenizer else tokenizer,
                **fields,
            )
        except Unaligned as error:
            return failed("invalid", str(error), str(fields.get("id", "0")))
        result = await self._ask(sent, policy)
        if isinstance(result, Failed):
            return result
        if len(result.rewards) != len(token_ids):
            detail = f"{len(result.rewards)} rewards for {len(token_ids)} tokens"
            return failed("unaligned", detail, result.id)
        return result.rewards

    async def _ask(
        self, sent: Mapping[str, Any], policy: FailurePolicy
    ) -> Scored | Probed | SegmentScored | Failed:
        said = {"task": self.task, "method": self.method, "mode": self.mode, "tokenizer": self.tokenizer}
        asked = {name: value for name, value in said.items() if value is not None}
        score: Callable[..., Awaitable[Scored | Probed | SegmentScored | Failed]] = getattr(
            _connected(self.url), f"score_{self.route}"
        )
        return await score(sent, options=dict(self.options), **asked, **policy.asked)


def failed(kind: str, detail: str, id: str = "0") -> Failed:
    """A failure as the service would put it; for those that are found, or carried, on the trainer's side."""
    raw = {"id": id, "status": "failed", "failure": {"kind": kind, "detail": detail}}
    return Failed(id, kind, detail, raw)


def messages(prompt: Any) -> Prompt:
    """A trainer's prompt as the service takes it: text, or turns of text; images are left out."""
    if isinstance(prompt, str):
        return prompt
    return [{"role": turn["role"], "content": _text(turn.get("content"))} for turn in prompt]


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
