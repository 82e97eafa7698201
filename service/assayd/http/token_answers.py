"""What ``/score/token`` sends out."""

import msgspec

from ..domain.annotation import MarkedSpan, TokenAnnotation
from ..domain.provenance import Provenance
from ..domain.rollout import Rollout
from .answers import (
    Answer,
    Batch,
    Unjudged,
    WireProvenance,
    WireRecipe,
    places,
    provenance_answer,
    unless_none,
)


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


class TokenResponse(msgspec.Struct, frozen=True):
    """One result per rollout, in the order of the request."""

    results: list[TokenJudged | Unjudged]
    recipe: WireRecipe
    batch: Batch | msgspec.UnsetType = msgspec.UNSET


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
        offsets=places(alignment.token_spans),
        spans=[_span_answer(span) for span in annotation.spans],
        critique=critiques[0] if critiques else None,
        queried=annotation.queried,
        provenance=provenance_answer(provenance),
        token_ids=unless_none(alignment.token_ids),
        critiques=critiques if len(critiques) > 1 else msgspec.UNSET,
        truncated_critique=annotation.truncated_critique or msgspec.UNSET,
        empty_tokens=annotation.empty_tokens or msgspec.UNSET,
        score_shown=annotation.score_shown or msgspec.UNSET,
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
