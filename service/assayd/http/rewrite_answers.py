"""What ``/rewrite`` and ``/score/token`` by method ``grm`` send out."""

from collections.abc import Mapping
from typing import Any

import msgspec

from ..domain.provenance import Provenance
from ..domain.rewriting import Operation, ProbeAnnotation, RewriteAnnotation
from ..domain.rollout import Rollout
from .answers import Batch, Unjudged, WireProvenance, WireRecipe, places, provenance_answer, unless_none


class WireEdit(msgspec.Struct, frozen=True):
    """One replacement: characters `[start, end)` of the completion, the tokens that hold them, what comes instead."""

    start: int
    end: int
    token_start: int
    token_end: int
    replacement: str


class WireOperation(msgspec.Struct, frozen=True):
    """One step from the tokens of the completion to those of the rewrite; places on both sides."""

    op: str
    source: int
    target: int
    source_text: str
    target_text: str


class Rewritten(msgspec.Struct, frozen=True, tag_field="status", tag="ok"):
    """The smallest correction; `edits`, character spans of the completion, applied together give `rewritten`.

    `error_step` counts from 0; null where nothing was wrong or nobody looked. `verified`: the rewrite reaches the
    reference's answer; null where that could not be told. `correct` is what is known of the completion itself.

    `operations` are the shortest way from the tokens of the completion to those of the rewrite, one end marker
    included, in the policy's tokens unless `policy_tokens` is false. `edit_distance` counts those that change
    something, `edit_ratio` is their share of the longer side. `prefix_preserved`: what stands before the first wrong
    step was kept byte by byte. `weights` has one number per token of the rewrite (`token_ids`, `offsets`), its end
    marker's last. `located`, `reply` and `critique` are what the models said.
    """

    id: str
    rewritten: str
    error_step: int | None
    verified: bool | None
    correct: bool | None
    edits: list[WireEdit]
    edit_distance: int
    edit_ratio: float
    prefix_preserved: bool
    weights: tuple[float, ...]
    operations: list[WireOperation]
    offsets: list[tuple[int, int]]
    policy_tokens: bool
    located: str
    reply: str
    critique: str
    provenance: WireProvenance
    token_ids: tuple[int, ...] | msgspec.UnsetType = msgspec.UNSET
    record: Mapping[str, Any] | msgspec.UnsetType = msgspec.UNSET
    training_rows: tuple[Mapping[str, str], ...] | msgspec.UnsetType = msgspec.UNSET
    rlmec_row: Mapping[str, Any] | msgspec.UnsetType = msgspec.UNSET


class RewriteResponse(msgspec.Struct, frozen=True):
    """One result per rollout, in the order of the request."""

    results: list[Rewritten | Unjudged]
    recipe: WireRecipe
    batch: Batch | msgspec.UnsetType = msgspec.UNSET


class WireEnd(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the end marker is worth that a finished completion came without."""

    reward: float
    prob: float
    ref_logprob: float | None = None


class Probed(msgspec.Struct, frozen=True, tag_field="status", tag="ok"):
    """One reward per completion token, by how likely the rewriter would have written it (`probs`).

    `ref_logprobs` (nats) are the reference policy's under its own prompt. `end` is what the end marker is worth that a
    finished completion came without. `transferred`: the rewriter read tokens of its own, an experiment.
    `clipped_low` and `clipped_high` count tokens beyond the bounds of `branch`. `all_zero` warns that the paper's loss
    would divide by zero.
    """

    id: str
    rewards: tuple[float, ...]
    intrinsic: tuple[float, ...]
    offsets: list[tuple[int, int]]
    probs: tuple[float, ...]
    branch: str
    clipped_low: int
    clipped_high: int
    all_zero: bool
    provenance: WireProvenance
    ref_logprobs: tuple[float, ...] | msgspec.UnsetType = msgspec.UNSET
    end: WireEnd | msgspec.UnsetType = msgspec.UNSET
    token_ids: tuple[int, ...] | msgspec.UnsetType = msgspec.UNSET
    transferred: bool | msgspec.UnsetType = msgspec.UNSET


class ProbeResponse(msgspec.Struct, frozen=True):
    """One result per rollout, in the order of the request."""

    results: list[Probed | Unjudged]
    recipe: WireRecipe
    batch: Batch | msgspec.UnsetType = msgspec.UNSET


def rewritten(id: str, rollout: Rollout, annotation: RewriteAnnotation, provenance: Provenance) -> Rewritten:
    """The answer for one rollout that was corrected."""
    return Rewritten(
        id=id,
        rewritten=annotation.rewritten,
        error_step=annotation.error_step,
        verified=annotation.verified,
        correct=annotation.correct,
        edits=[
            WireEdit(edit.span.start, edit.span.end, edit.segment.start, edit.segment.end, edit.replacement)
            for edit in annotation.edits
        ],
        edit_distance=annotation.edit_distance,
        edit_ratio=annotation.edit_ratio,
        prefix_preserved=annotation.prefix_preserved,
        weights=annotation.weights,
        operations=[_operation(operation) for operation in annotation.operations],
        offsets=places(annotation.offsets),
        policy_tokens=annotation.policy_tokens,
        located=annotation.located,
        reply=annotation.reply,
        critique=annotation.critique,
        provenance=provenance_answer(provenance),
        token_ids=unless_none(annotation.token_ids),
        record=unless_none(annotation.record),
        training_rows=annotation.training_rows or msgspec.UNSET,
        rlmec_row=unless_none(annotation.rlmec_row),
    )


def probed(id: str, rollout: Rollout, annotation: ProbeAnnotation, provenance: Provenance) -> Probed:
    """The answer for one rollout that was paid by the rewriter's probabilities."""
    alignment, logprobs, end = rollout.completion.alignment, annotation.ref_logprobs, annotation.end
    return Probed(
        id=id,
        rewards=annotation.rewards,
        intrinsic=annotation.intrinsic,
        offsets=places(alignment.token_spans),
        probs=annotation.probs,
        branch=annotation.branch,
        clipped_low=annotation.clipped_low,
        clipped_high=annotation.clipped_high,
        all_zero=annotation.all_zero,
        provenance=provenance_answer(provenance),
        ref_logprobs=unless_none(logprobs),
        end=msgspec.UNSET if end is None else WireEnd(end.reward, end.prob, end.ref_logprob),
        token_ids=unless_none(alignment.token_ids),
        transferred=annotation.transferred or msgspec.UNSET,
    )


def _operation(operation: Operation) -> WireOperation:
    return WireOperation(
        op=operation.change,
        source=operation.source,
        target=operation.target,
        source_text=operation.source_text,
        target_text=operation.target_text,
    )
