"""What goes over the wire in one call, whoever waits for the answer: the flow that both clients share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import httpx

from .errors import CallRejected
from .wire import (
    Answer,
    Probed,
    Rewritten,
    Scored,
    SegmentScored,
    SequenceScored,
    read_probes,
    read_rewrites,
    read_segments,
    read_sequences,
    read_tokens,
)

# The service bounds its own work by timeout_s; the connection waits a little longer for the answer to travel.
_TRAVEL_S: Final = 5.0

Rollouts = Sequence[Mapping[str, Any]]
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Call(Generic[A]):
    """A request, and how its answer is read."""

    path: str
    body: Mapping[str, Any]
    read: Callable[[Mapping[str, Any]], A]

    @property
    def timeout_s(self) -> float:
        """How long the connection waits."""
        return float(self.body["timeout_s"]) + _TRAVEL_S

    def answer(self, response: httpx.Response) -> A:
        """What the service said; raises ``CallRejected`` where it refused."""
        if response.is_success:
            return self.read(response.json())
        raise rejection(response)


def token_call(rollouts: Rollouts, *, method: str, **common: Any) -> Call[Answer[Scored] | Answer[Probed]]:
    """One reward per token, by a critic or by a rewriter."""
    read: Callable[[Mapping[str, Any]], Answer[Scored] | Answer[Probed]] = (
        read_probes if method == "grm" else read_tokens
    )
    return Call("/score/token", _body(rollouts, method=method, **common), read)


def segment_call(rollouts: Rollouts, **common: Any) -> Call[Answer[SegmentScored]]:
    """One reward per token, by segments."""
    return Call("/score/segment", _body(rollouts, **common), read_segments)


def sequence_call(rollouts: Rollouts, **common: Any) -> Call[Answer[SequenceScored]]:
    """One reward per completion."""
    return Call("/score/sequence", _body(rollouts, **common), read_sequences)


def rewrite_call(rollouts: Rollouts, **common: Any) -> Call[Answer[Rewritten]]:
    """The smallest correction."""
    return Call("/rewrite", _body(rollouts, **common), read_rewrites)


def rejection(response: httpx.Response) -> CallRejected:
    """Why the service refused a whole call."""
    problem = response.json() if "json" in response.headers.get("content-type", "") else {}
    return CallRejected(
        response.status_code,
        problem.get("kind", "internal"),
        problem.get("detail", response.text[:200]),
        pointer=problem.get("pointer"),
        retry_after_s=problem.get("retry_after_s"),
    )


def _body(rollouts: Rollouts, *, options: Mapping[str, Any] | None, **fields: Any) -> dict[str, Any]:
    """The request; of the other fields those that are said."""
    said = {name: value for name, value in fields.items() if value is not None}
    return {"rollouts": list(rollouts), "options": dict(options or {}), **said}
