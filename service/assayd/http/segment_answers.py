"""What ``/score/segment`` sends out."""

import msgspec

from ..domain.annotation import ScoredSegment, SegmentAnnotation
from ..domain.provenance import Provenance
from ..domain.rollout import Rollout
from .answers import Batch, Unjudged, WireProvenance, WireRecipe, places, provenance_answer, unless_none


class WireSegment(msgspec.Struct, frozen=True):
    """One piece of the completion; `reward` is `(raw - mean) / std`, `std_floored` that std was raised to the floor."""

    token_start: int
    token_end: int
    start: int
    end: int
    text: str
    raw: float
    reward: float
    progress: float
    mean: float
    std: float
    std_floored: bool


class SegmentJudged(msgspec.Struct, frozen=True, tag_field="status", tag="ok"):
    """One reward per completion token, and the segments they come from.

    `transferred`: a model read tokens of its own. `prompt_tokens_dropped`: cut off on the prompt's left.
    `penalized`: the end penalty stands in place of every intrinsic reward.
    """

    id: str
    rewards: tuple[float, ...]
    intrinsic: tuple[float, ...]
    offsets: list[tuple[int, int]]
    segments: list[WireSegment]
    sequence_score: float | None
    provenance: WireProvenance
    token_ids: tuple[int, ...] | msgspec.UnsetType = msgspec.UNSET
    entropies: tuple[float, ...] | msgspec.UnsetType = msgspec.UNSET
    transferred: bool | msgspec.UnsetType = msgspec.UNSET
    prompt_tokens_dropped: int | msgspec.UnsetType = msgspec.UNSET
    penalized: bool | msgspec.UnsetType = msgspec.UNSET


class SegmentResponse(msgspec.Struct, frozen=True):
    """One result per rollout, in the order of the request."""

    results: list[SegmentJudged | Unjudged]
    recipe: WireRecipe
    batch: Batch | msgspec.UnsetType = msgspec.UNSET


def segment_judged(
    id: str, rollout: Rollout, annotation: SegmentAnnotation, provenance: Provenance
) -> SegmentJudged:
    """The answer for one rollout that was paid."""
    alignment = rollout.completion.alignment
    entropies = annotation.entropies
    return SegmentJudged(
        id=id,
        rewards=annotation.rewards,
        intrinsic=annotation.intrinsic,
        offsets=places(alignment.token_spans),
        segments=[_segment_answer(scored, alignment.text) for scored in annotation.segments],
        sequence_score=annotation.sequence_score,
        provenance=provenance_answer(provenance),
        token_ids=unless_none(alignment.token_ids),
        entropies=unless_none(entropies),
        transferred=annotation.transferred or msgspec.UNSET,
        prompt_tokens_dropped=annotation.prompt_tokens_dropped or msgspec.UNSET,
        penalized=annotation.penalized or msgspec.UNSET,
    )


def _segment_answer(scored: ScoredSegment, text: str) -> WireSegment:
    segment, span = scored.segment, scored.span
    return WireSegment(
        token_start=segment.start,
        token_end=segment.end,
        start=span.start,
        end=span.end,
        text=span.of(text),
        raw=scored.raw,
        reward=scored.reward,
        progress=scored.progress,
        mean=scored.mean,
        std=scored.std,
        std_floored=scored.std_floored,
    )
