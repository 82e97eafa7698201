"""What ``/score/sequence`` sends out: each rollout by itself, and where it stands in the call."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from ..annotators.sequence import SequenceOptions, Standing, Worth, standings
from ..annotators.sequence.advantages import ValueSource
from ..domain.provenance import Provenance
from ..domain.rollout import Rollout
from ..domain.sequence import ComponentScore, CriterionScore, SequenceAnnotation
from .answers import Unjudged, WireProvenance, WireRecipe, provenance_answer, unless_none
from .judging import Judgement


class WireCriterion(msgspec.Struct, frozen=True):
    """How far one criterion is met: a probability, or the share of `votes` replies that say so."""

    name: str
    weight: float
    score: float
    votes: int


class SequenceJudged(msgspec.Struct, frozen=True, tag_field="status", tag="ok"):
    """What a completion is worth, alone and beside the others.

    `reward` is the weighted sum of `components` (behind their activation; `raw` are the numbers before it), or the
    extrinsic reward where there are none. `advantage` is `reward - value`, `keep` whether it is above 0; both are null
    where nobody said what to compare with. `sampling_weight` is how often to draw the rollout, as a share of the call.
    `criteria` are those of each rubric, by the component's name. `ref_logprob` (nats) is that of the policy's tokens
    under the reference policy, where it was asked for.
    """

    id: str
    components: dict[str, float]
    raw: dict[str, float]
    reward: float
    value: float | None
    advantage: float | None
    keep: bool | None
    sampling_weight: float | None
    provenance: WireProvenance
    criteria: dict[str, list[WireCriterion]] | msgspec.UnsetType = msgspec.UNSET
    ref_logprob: float | msgspec.UnsetType = msgspec.UNSET
    transferred: bool | msgspec.UnsetType = msgspec.UNSET
    prompt_tokens_dropped: int | msgspec.UnsetType = msgspec.UNSET


class SequenceBatch(msgspec.Struct, frozen=True):
    """What holds for the call, over its judged rollouts; null where none has an advantage.

    `positive_ratio` is the share that is kept, `keep` says of each rollout in order whether it is (null where it
    failed), `n_keep` how many. `weight_sum` is what the sampling weights were made from: its sum over a data set goes
    into `options.dataset_weight_sum`.
    """

    positive_ratio: float | None
    keep: list[bool | None]
    n_keep: int | None
    weight_sum: float | None
    extrinsic_normalizer: dict[str, float] | msgspec.UnsetType = msgspec.UNSET


class SequenceResponse(msgspec.Struct, frozen=True):
    """One result per rollout, in the order of the request."""

    results: list[SequenceJudged | Unjudged]
    recipe: WireRecipe
    batch: SequenceBatch


@dataclass(frozen=True, slots=True)
class Reckoned:
    """One rollout's annotation, before it is compared with the others."""

    id: str
    rollout: Rollout
    annotation: SequenceAnnotation
    provenance: Provenance


def sequence_response(
    judged: Judgement[Reckoned], source: ValueSource, options: SequenceOptions
) -> SequenceResponse:
    """Compare the rollouts of a call with each other, and answer."""
    worths = [None if isinstance(one, Unjudged) else _worth(one) for one in judged.results]
    made, tally = standings(worths, source, options.sampling, dataset_weight_sum=options.dataset_weight_sum)
    moments = judged.batch
    return SequenceResponse(
        results=[
            one if isinstance(one, Unjudged) else _answer(one, standing or Standing())
            for one, standing in zip(judged.results, made, strict=True)
        ],
        recipe=judged.recipe,
        batch=SequenceBatch(
            positive_ratio=tally.positive_ratio,
            keep=[None if standing is None else standing.keep for standing in made],
            n_keep=tally.n_keep,
            weight_sum=tally.weight_sum,
            extrinsic_normalizer=msgspec.UNSET
            if isinstance(moments, msgspec.UnsetType)
            else moments.extrinsic_normalizer,
        ),
    )


def _worth(one: Reckoned) -> Worth:
    rollout, annotation = one.rollout, one.annotation
    group = ("prompt", rollout.prompt) if rollout.group is None else ("group", rollout.group)
    return Worth(annotation.reward, annotation.value, group)


def _answer(one: Reckoned, standing: Standing) -> SequenceJudged:
    annotation = one.annotation
    parts = annotation.components
    criteria = {part.name: _criteria(part) for part in parts if part.criteria}
    return SequenceJudged(
        id=one.id,
        components={part.name: part.value for part in parts},
        raw={part.name: part.raw for part in parts},
        reward=annotation.reward,
        value=standing.value,
        advantage=standing.advantage,
        keep=standing.keep,
        sampling_weight=standing.sampling_weight,
        provenance=provenance_answer(one.provenance),
        criteria=criteria or msgspec.UNSET,
        ref_logprob=unless_none(annotation.ref_logprob),
        transferred=annotation.transferred or msgspec.UNSET,
        prompt_tokens_dropped=annotation.prompt_tokens_dropped or msgspec.UNSET,
    )


def _criteria(part: ComponentScore) -> list[WireCriterion]:
    scores: Sequence[CriterionScore] = part.criteria
    return [WireCriterion(score.name, score.weight, score.score, score.votes) for score in scores]
