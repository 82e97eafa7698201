"""Raw segment rewards of many completions, by the very road that the service takes: what a normalizer is fitted to."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from .annotators.cutting import BoundaryMode, Cut, Segmenter
from .annotators.options import Mode
from .annotators.scales import NO_NORMALIZER
from .annotators.segment_options import Method, SegmentOptions
from .annotators.segment_scorer import SegmentScorer
from .domain.failure import AnnotationFailed, Failure
from .domain.ports import Deadline
from .domain.provenance import ModelRef
from .domain.rollout import Completion, Message, Rollout
from .engines.tokenizers import Aligner, RawCompletion
from .segment_models import SegmentModels

IN_FLIGHT = 256
PATIENCE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Scored:
    """Of each completion that could be scored, the raw rewards of its segments in order; and why others could not."""

    raws: list[tuple[float, ...]]
    failures: list[Failure]


async def raw_rewards(
    models: SegmentModels, aligner: Aligner, pairs: Sequence[tuple[tuple[Message, ...], str]], how: Cut
) -> Scored:
    """Cut every completion by ``how`` and score the pieces; ``pairs`` are of prompt and completion."""
    scorer = models.annotator(Method.SEGMENT, Mode.STRICT, _options(how), None)
    aligned = await aligner.align_all([RawCompletion(text=text) for _, text in pairs], own=models.tokenizer)
    turn = asyncio.Semaphore(IN_FLIGHT)

    async def scored(
        prompt: tuple[Message, ...], completion: Completion | Failure
    ) -> tuple[float, ...] | Failure:
        if isinstance(completion, Failure):
            return completion
        async with turn:
            return await _raws(scorer, Rollout("", prompt, completion))

    outcomes = await asyncio.gather(
        *(scored(prompt, completion) for (prompt, _), completion in zip(pairs, aligned, strict=True))
    )
    return Scored(
        [outcome for outcome in outcomes if not isinstance(outcome, Failure) and outcome],
        [outcome for outcome in outcomes if isinstance(outcome, Failure)],
    )


async def _raws(scorer: SegmentScorer, rollout: Rollout) -> tuple[float, ...] | Failure:
    try:
        annotation, _ = await scorer.annotate(rollout, deadline=Deadline.after(PATIENCE_S))
    except AnnotationFailed as failure:
        return failure.failure
    return tuple(part.raw for part in annotation.segments)


def _options(how: Cut) -> SegmentOptions:
    plain = how.boundary_mode is not BoundaryMode.SEGMENT
    return SegmentOptions(
        boundary_mode=how.boundary_mode,
        segmenter=None if plain else how.segmenter,
        c_ent=how.c_ent if how.needs_entropies else None,
        segment_length=how.segment_length if not plain and how.segmenter is Segmenter.FIXED else None,
        normalizer=NO_NORMALIZER,
    )


def entropy_model_of(models: SegmentModels, cuts: Sequence[Cut]) -> ModelRef | None:
    """The model that weighed the entropies, None where no cut needed any."""
    needed = any(how.needs_entropies for how in cuts)
    return models.weigher.model if needed and models.weigher is not None else None
