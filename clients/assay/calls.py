"""What goes over the wire in one call, whoever waits for the answer: the flow that both clients share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, Literal, TypedDict, TypeVar

from .attempts import Contact, Flow, Part, Request, ask, failed
from .chunks import Sent, Unsendable, cut, encoded, to_json
from .configuration import Configuration, positive
from .deadline import Deadline
from .errors import AnswerUnreadable, AssayError, RecipeChanged, RolloutFailed
from .joining import joined, joined_sequences
from .wire import (
    Answer,
    Failed,
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

REWARD_MATCH: Final = "If-Reward-Match"

Rollouts = Sequence[Mapping[str, Any]]
OnRefusal = Literal["raise", "fail"]
Body = Mapping[str, Any]
S = TypeVar("S")


class Asked(TypedDict, total=False):
    """What every call may say besides its rollouts.

    ``mode``, ``tokenizer`` and ``options`` are the service's own. ``timeout_s`` bounds the whole call: parts, retries
    and waiting included; without it the client's own. ``reward_match`` pins the recipe by its id. ``on_refusal`` says
    what becomes of a call, or a part of one, that is refused or that nobody answers: ``raise`` (default), or ``fail``,
    by which its rollouts are ``Failed`` and a training step goes on; a recipe that changed and a key that does not hold
    are raised in either case.
    ``raise_on_failure`` raises ``RolloutFailed`` for
    the first rollout that is ``Failed``.
    """

    mode: str
    tokenizer: Mapping[str, str | None] | None
    options: Mapping[str, Any] | None
    timeout_s: float | None
    reward_match: str | None
    on_refusal: OnRefusal
    raise_on_failure: bool


@dataclass(frozen=True, slots=True)
class Call(Generic[S]):
    """One call: where it goes, what it says, and how its answer is read.

    ``group_of`` tells which rollouts must be judged in one request, where any must.
    """

    path: str
    rollouts: Rollouts
    said: Mapping[str, Any]
    asked: Asked
    read: Callable[[Body], Answer[S]]
    join: Callable[[Sequence[Part], Sequence[str]], Body] = joined
    group_of: Callable[[int], object] | None = None

    def begin(self, configuration: Configuration, contact: Contact) -> "Begun[S]":
        """Start the clock, and cut the call into parts. Raises ``ValueError`` for what no call can say."""
        timeout_s = self.asked.get("timeout_s")
        deadline = Deadline.after(configuration.timeout_s if timeout_s is None else positive(timeout_s))
        if self.asked.get("on_refusal", "raise") not in ("raise", "fail"):
            raise ValueError(f"on_refusal is {self.asked.get('on_refusal')!r}: raise or fail")
        sent, unsendable = encoded(self.rollouts)
        headers = {"Content-Type": "application/json", **configuration.headers}
        pinned = self.asked.get("reward_match")
        if pinned is not None:
            headers[REWARD_MATCH] = pinned
        request = Request(self.path, to_json(self.said), headers, self.group_of is None, deadline, contact)
        everyone: list[Sent | Unsendable] = [*sent, *unsendable]
        ids = {one.index: one.id for one in everyone}
        return Begun(
            call=self,
            request=request,
            chunks=cut(sent, configuration.limits, self.group_of),
            ids=[ids[index] for index in range(len(ids))],
            early=[failed(one, "invalid", one.detail) for one in unsendable],
        )


@dataclass(frozen=True, slots=True)
class Begun(Generic[S]):
    """A call under way. ``early`` are rollouts that failed before anything was sent."""

    call: Call[S]
    request: Request
    chunks: list[list[Sent]]
    ids: list[str]
    early: list[Part] = field(default_factory=list)

    @property
    def flows(self) -> list[Flow]:
        """One flow for each part, to be driven side by side. They raise ``AssayError``."""
        return [self._guarded(chunk) for chunk in self.chunks]

    def outcome(self, chunk: Sequence[Sent], error: AssayError) -> list[Part]:
        """What an error makes of a part's rollouts; raises it where they do not fail by it."""
        if self.call.asked.get("on_refusal", "raise") == "raise" or isinstance(error, RecipeChanged):
            raise error
        return [Part(tuple(one.index for one in chunk), error)]

    def answer(self, parts: Sequence[Part]) -> Answer[S]:
        """All parts together, in the order of the call. Raises ``RolloutFailed`` where that was asked for."""
        body = self.call.join([*self.early, *parts], self.ids)
        try:
            answer = self.call.read(body)
        except (KeyError, TypeError, ValueError) as error:
            raise AnswerUnreadable(
                f"the answer of {self.request.contact.url}{self.call.path} lacks {error}: are client and "
                "service of one version?"
            ) from error
        if self.call.asked.get("raise_on_failure", False):
            for result in answer.results:
                if isinstance(result, Failed):
                    raise RolloutFailed(result.id, result.kind, result.detail, result)
        return answer

    def _guarded(self, chunk: Sequence[Sent]) -> Flow:
        try:
            return (yield from ask(self.request, chunk))
        except AssayError as error:
            return self.outcome(chunk, error)


def token_call(rollouts: Rollouts, asked: Asked, *, method: str, task: str | None) -> Call[Scored]:
    """One reward per token, by a critic; the service refuses any ``method`` it does not know."""
    return Call("/score/token", rollouts, _said(asked, method=method, task=task), asked, read_tokens)


def probe_call(rollouts: Rollouts, asked: Asked) -> Call[Probed]:
    """One reward per token, by a rewriter's probabilities."""
    return Call("/score/token", rollouts, _said(asked, method="grm"), asked, read_probes)


def segment_call(rollouts: Rollouts, asked: Asked, *, method: str) -> Call[SegmentScored]:
    """One reward per token, by segments."""
    return Call("/score/segment", rollouts, _said(asked, method=method), asked, read_segments)


def sequence_call(rollouts: Rollouts, asked: Asked) -> Call[SequenceScored]:
    """One reward per completion; rollouts that are compared with each other stay in one request."""
    options = asked.get("options") or {}
    of_data_set = options.get("dataset_weight_sum") is not None
    alone = options.get("value_source") in ("head", "provided", "none")
    return Call(
        "/score/sequence",
        rollouts,
        _said(asked),
        asked,
        read_sequences,
        partial(joined_sequences, weights_of_data_set=of_data_set),
        None if alone else lambda index: _group(rollouts[index]),
    )


def rewrite_call(
    rollouts: Rollouts, asked: Asked, *, method: str, task: str | None, rubric: str | None
) -> Call[Rewritten]:
    """The smallest correction."""
    said = _said(asked, method=method, task=task, rubric=rubric)
    return Call("/rewrite", rollouts, said, asked, read_rewrites)


def _said(asked: Asked, **fields: Any) -> dict[str, Any]:
    """The request's fields besides rollouts and time; those that are None are left out."""
    known = set(Asked.__annotations__)
    if not known.issuperset(asked):
        raise TypeError(f"no call takes {', '.join(sorted(set(asked) - known))}")
    said = {**fields, "mode": asked.get("mode"), "tokenizer": asked.get("tokenizer")}
    options = dict(asked.get("options") or {})
    return {"options": options, **{name: value for name, value in said.items() if value is not None}}


def _group(rollout: Mapping[str, Any]) -> tuple[str, object]:
    group = rollout.get("group")
    return ("prompt", to_json(rollout.get("prompt", ""))) if group is None else ("group", group)
