"""Asks one service for one kind of reward, within a deadline, and turns what goes wrong into ``Failed`` rollouts.

Whatever a trainer's adapter sends, this decides what a failure does: see ``on_failure``.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from .async_client import AsyncClient
from .errors import AssayError, CallRejected, ServiceUnreachable
from .wire import Answer, Failed, Probed, Scored, SegmentScored, SequenceScored

Route = Literal["token", "segment", "sequence"]
OnFailure = Literal["skip", "scalar", "raise"]
Rollouts = Sequence[Mapping[str, Any]]
Judged = tuple[float, ...] | Failed
"""The rewards of one rollout, one per completion token (of a sequence: one), or why there are none."""

# What the service is given of the deadline; the rest is for the answer to travel.
_SERVICE_SHARE: Final = 0.9
# Statuses that say nothing about the request: the next step may ask again. 401, 412 or 422 would come back each time.
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})


class RolloutFailed(AssayError):
    """A rollout could not be judged, and ``on_failure`` is ``raise``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """One way to be judged.

    ``route`` is that of the service (``/score/<route>``); ``task``, ``method``, ``mode``, ``options`` and ``tokenizer``
    are its fields, None: as the service has it. ``deadline_s`` seconds after a call began it is over, whatever the
    service does. ``on_failure`` says what becomes of rollouts that could not be judged:

    - ``skip``: they are masked out of the step, their outcome rewards too;
    - ``scalar``: they keep their outcome reward alone;
    - ``raise``: ``RolloutFailed`` ends the training.

    A call that the service refuses for what it says (``CallRejected`` with 401, 412, 422, ...) always raises: it would
    be refused at every step.
    """

    url: str = "http://127.0.0.1:8000"
    route: Route = "token"
    task: str | None = None
    method: str | None = None
    mode: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: Mapping[str, str] | None = None
    deadline_s: float = 60.0
    on_failure: OnFailure = "skip"

    def __post_init__(self) -> None:
        if self.route not in ("token", "segment", "sequence"):
            raise ValueError(f"route is token, segment or sequence, not {self.route!r}")
        if self.on_failure not in ("skip", "scalar", "raise"):
            raise ValueError(f"on_failure is skip, scalar or raise, not {self.on_failure!r}")
        if not self.deadline_s > 0:
            raise ValueError(f"deadline_s is above 0, not {self.deadline_s}")

    @property
    def name(self) -> str:
        """What the rewards are called in logs."""
        return "/".join(("assay", self.task or self.method or self.route))

    async def judge(
        self, client: AsyncClient, rollouts: Rollouts, token_counts: Sequence[int]
    ) -> list[Judged]:
        """The rewards of each rollout, in order. One with another number of rewards than of tokens has failed.

        Raises ``CallRejected`` and ``RolloutFailed`` as the class says, and nothing else that the service does.
        """
        judged = [
            _rewards(result, count)
            for result, count in zip(await self._results(client, rollouts), token_counts, strict=True)
        ]
        if self.on_failure == "raise" and any(isinstance(one, Failed) for one in judged):
            raise RolloutFailed(f"{self.name}: {describe_failures(judged)}")
        return judged

    async def _results(self, client: AsyncClient, rollouts: Rollouts) -> Sequence[Any]:
        try:
            async with asyncio.timeout(self.deadline_s):
                answer = await self._ask(client, rollouts)
        except TimeoutError:
            return _all_failed(rollouts, "past_deadline", f"no answer within {self.deadline_s:g} s")
        except ServiceUnreachable as error:
            return _all_failed(rollouts, "unreachable", str(error))
        except CallRejected as error:
            if error.status not in _PASSING:
                raise
            return _all_failed(rollouts, error.kind, error.detail)
        return answer.results

    async def _ask(self, client: AsyncClient, rollouts: Rollouts) -> Answer[Any]:
        said = {"task": self.task, "method": self.method, "mode": self.mode, "tokenizer": self.tokenizer}
        fields = {name: value for name, value in said.items() if value is not None}
        score: Callable[..., Awaitable[Answer[Any]]] = getattr(client, f"score_{self.route}")
        return await score(
            rollouts, options=self.options, timeout_s=_SERVICE_SHARE * self.deadline_s, **fields
        )


def describe_failures(judged: Sequence[Judged]) -> str:
    """How many failed and of what kinds, with one of their details."""
    failed = [one for one in judged if isinstance(one, Failed)]
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(one.kind for one in failed).most_common())
    detail = f" ({failed[0].detail})" if failed else ""
    return f"{len(failed)} of {len(judged)} rollouts were not judged: {kinds or 'none'}{detail}"


def _rewards(result: Scored | SegmentScored | Probed | SequenceScored | Failed, tokens: int) -> Judged:
    if isinstance(result, Failed):
        return result
    if isinstance(result, SequenceScored):
        return (result.reward,)
    if len(result.rewards) != tokens:
        detail = f"{len(result.rewards)} rewards for {tokens} tokens"
        return Failed(result.id, "unaligned", detail, result.raw)
    return result.rewards


def _all_failed(rollouts: Rollouts, kind: str, detail: str) -> list[Failed]:
    return [Failed(str(rollout["id"]), kind, detail, {}) for rollout in rollouts]
