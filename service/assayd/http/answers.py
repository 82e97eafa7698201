"""What goes out: wire shapes made from domain objects and encoded once, by msgspec.

The same shapes give the answers' half of the OpenAPI document.
"""

from typing import Any

import msgspec

from ..domain.annotation import MarkedSpan, TokenAnnotation
from ..domain.failure import Failure
from ..domain.provenance import Provenance, Recipe
from ..domain.rollout import Rollout


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of every answer shape; absent optional fields are left out."""


class WireProvenance(msgspec.Struct, frozen=True):
    """How one result came to be; `key` identifies rollout and recipe together."""

    key: str
    cached: bool
    usage: dict[str, int]
    timings: dict[str, float]


class WireSpan(Answer, frozen=True):
    """A remark of the critic; the places are absent where `match` says it was not found.

    `vote` is the critique that said so, left out for the first one.
    """

    text: str
    label: str
    polarity: str
    reward: float
    match: str
    start: int | None = None
    end: int | None = None
    token_start: int | None = None
    token_end: int | None = None
    reason: str | None = None
    vote: int = 0


class WireFailure(Answer, frozen=True):
    """Why a rollout could not be judged."""

    kind: str
    detail: str
    critique: str | None = None


class TokenJudged(msgspec.Struct, frozen=True, tag_field="status", tag="ok"):
    """One reward per completion token, and the reasons."""

    id: str
    rewards: tuple[float, ...]
    intrinsic: tuple[float, ...]
    offsets: list[tuple[int, int]]
    spans: list[WireSpan]
    critique: str | None
    queried: bool
    provenance: WireProvenance
    token_ids: tuple[int, ...] | msgspec.UnsetType = msgspec.UNSET
    critiques: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    truncated_critique: bool | msgspec.UnsetType = msgspec.UNSET
    empty_tokens: tuple[int, ...] | msgspec.UnsetType = msgspec.UNSET
    score_shown: str | msgspec.UnsetType = msgspec.UNSET


class TokenFailed(msgspec.Struct, frozen=True, tag_field="status", tag="failed"):
    """A rollout that could not be judged: it has no rewards, unless zeros were asked for with `on_error`."""

    id: str
    failure: WireFailure
    rewards: tuple[float, ...] | msgspec.UnsetType = msgspec.UNSET


class WireRecipe(msgspec.Struct, frozen=True):
    """Everything besides the rollouts that can change the answer; `id` is its digest."""

    id: str
    method: str
    task: str
    mode: str
    model: dict[str, str]
    prompt: dict[str, str]
    tokenizer: dict[str, str] | None
    options: dict[str, Any]
    service_version: str


class TokenBatch(msgspec.Struct, frozen=True):
    """What holds for the call as a whole; `extrinsic_normalizer` belongs into the next call."""

    extrinsic_normalizer: dict[str, float]


class TokenResponse(msgspec.Struct, frozen=True):
    """One result per rollout, in the order of the request."""

    results: list[TokenJudged | TokenFailed]
    recipe: WireRecipe
    batch: TokenBatch | msgspec.UnsetType = msgspec.UNSET


class Problem(Answer, frozen=True):
    """RFC 9457 problem details: why the whole call was refused."""

    type: str
    title: str
    status: int
    kind: str
    detail: str
    pointer: str | None = None
    retry_after_s: float | None = None
    errors: list[dict[str, str]] | None = None


def recipe_answer(recipe: Recipe) -> WireRecipe:
    """A recipe as it is reported."""
    return WireRecipe(id=recipe.id, **recipe.identity())


def token_judged(
    id: str, rollout: Rollout, annotation: TokenAnnotation, provenance: Provenance
) -> TokenJudged:
    """The answer for one judged rollout."""
    alignment = rollout.completion.alignment
    critiques = annotation.critiques
    return TokenJudged(
        id=id,
        rewards=annotation.rewards,
        intrinsic=annotation.intrinsic,
        offsets=[(span.start, span.end) for span in alignment.token_spans],
        spans=[_span_answer(span) for span in annotation.spans],
        critique=critiques[0] if critiques else None,
        queried=annotation.queried,
        provenance=_provenance_answer(provenance),
        token_ids=msgspec.UNSET if alignment.token_ids is None else alignment.token_ids,
        critiques=critiques if len(critiques) > 1 else msgspec.UNSET,
        truncated_critique=annotation.truncated_critique or msgspec.UNSET,
        empty_tokens=annotation.empty_tokens or msgspec.UNSET,
        score_shown=annotation.score_shown or msgspec.UNSET,
    )


def token_failed(id: str, failure: Failure) -> TokenFailed:
    """The answer for one rollout that could not be judged."""
    return TokenFailed(
        id=id,
        failure=WireFailure(kind=failure.kind, detail=failure.detail, critique=failure.critique),
        rewards=msgspec.UNSET if failure.rewards is None else failure.rewards,
    )


def _span_answer(marked: MarkedSpan) -> WireSpan:
    span, segment = marked.span, marked.segment
    return WireSpan(
        text=marked.text,
        label=marked.label,
        polarity=marked.polarity,
        reward=marked.reward,
        match=marked.match,
        start=None if span is None else span.start,
        end=None if span is None else span.end,
        token_start=None if segment is None else segment.start,
        token_end=None if segment is None else segment.end,
        reason=marked.reason,
        vote=marked.vote,
    )


def _provenance_answer(provenance: Provenance) -> WireProvenance:
    usage = provenance.usage
    return WireProvenance(
        key=provenance.key,
        cached=provenance.cached,
        usage={
            "calls": usage.calls,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
        },
        timings={"elapsed_s": round(provenance.elapsed_s, 6)},
    )
