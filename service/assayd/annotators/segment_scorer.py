"""Segment rewards (2501.02790; papers.md 2, 5.5): cut, credit, normalize, spread over the tokens.

entropies -> cut (``cutting``) -> raw rewards (``credits``) -> normalize (``normalizers``) -> tokens (``interpolation``)
"""

from typing import TypeAlias

from ..domain.annotation import ScoredSegment, SegmentAnnotation
from ..domain.failure import AnnotationFailed, FailureKind
from ..domain.ports import Deadline, Engine, Intake, WeighsTokens
from ..domain.provenance import Recipe, Usage
from ..domain.rollout import Completion, Rollout
from ..domain.text import Segment
from .credits import Ask, Credit, CreditSource
from .cutting import BoundaryMode, behind, cut
from .interpolation import clamped, interpolate
from .normalizers import normalize
from .options import Mode
from .paying import failing_as, token_of_outcome, with_outcome
from .scoring import is_masked
from .segment_options import Method, Settled
from .subject import Subject, subject_of

Entropies: TypeAlias = tuple[float, ...]


class SegmentScorer:
    """Pays one completion piece by piece.

    ``weigher`` computes the entropies that a rollout does not bring along; None where the service has no model for
    it.
    """

    def __init__(
        self, source: CreditSource, weigher: WeighsTokens | None, options: Settled, recipe: Recipe
    ) -> None:
        self._source = source
        self._weigher = weigher
        self._options = options
        self._recipe = recipe
        self._mode = Mode(recipe.mode)
        self._pays_marker = recipe.method != Method.SEGMENT
        self._needs_entropies = options.cut.needs_entropies or options.return_entropies

    @property
    def recipe(self) -> Recipe:
        """What this scorer is, apart from the rollout."""
        return self._recipe

    def engines_for(self, *, weighed: bool, rewarded: bool) -> tuple[Engine, ...]:
        """The entropy model, where the rollout brings no entropies, and the one that scores."""
        if self._weigher is None or not self._needs_entropies or weighed:
            return (self._source.engine,)
        return self._weigher, self._source.engine

    async def annotate(self, rollout: Rollout, *, deadline: Deadline) -> tuple[SegmentAnnotation, Usage]:
        """Pay one rollout.

        In strict mode an end marker alone has no segments and a reward of 0. Raises ``AnnotationFailed``: ``empty``
        without tokens of the policy, ``invalid`` where entropies are missing, and whatever the engines raise.
        """
        last = token_of_outcome(rollout)
        with failing_as(self._options.on_error, rollout):
            return await self._paid(rollout, last, deadline)

    async def _paid(self, rollout: Rollout, last: int, deadline: Deadline) -> tuple[SegmentAnnotation, Usage]:
        options, subject = self._options, subject_of(rollout.completion, self._mode)
        entropies, weighed = await self._entropies(rollout, subject, deadline)
        segments = self._cut(subject.cut, entropies)
        credit = await self._credit(rollout, subject, segments, deadline)
        scored = self._scored(subject.cut, segments, credit)
        intakes = (*weighed, *credit.intakes)
        penalized = self._too_long(rollout.completion, intakes)
        intrinsic = self._penalty(subject.cut) if penalized else self._spread(subject.cut, scored)
        annotation = SegmentAnnotation(
            rewards=with_outcome(intrinsic, rollout, last, options),
            intrinsic=intrinsic,
            segments=scored,
            sequence_score=credit.sequence_score if segments else None,
            entropies=entropies if options.return_entropies else None,
            transferred=any(intake.transferred for intake in intakes),
            prompt_tokens_dropped=max((intake.prompt_tokens_dropped for intake in intakes), default=0),
            penalized=penalized,
        )
        return annotation, sum((intake.usage for intake in intakes), Usage())

    async def _entropies(
        self, rollout: Rollout, subject: Subject, deadline: Deadline
    ) -> tuple[Entropies | None, tuple[Intake, ...]]:
        """Entropies of the distribution behind each token, None where nobody asks for them."""
        if not self._needs_entropies:
            return None, ()
        if rollout.entropies is not None:
            return behind(rollout.entropies, self._options.entropy_index), ()
        if self._weigher is None:
            raise AnnotationFailed(
                FailureKind.INVALID,
                "entropies are needed: send them with the rollout, or give the service a segment.entropy_model",
            )
        stats = await self._weigher.weigh(
            rollout.prompt, subject.read, window=self._options.window, deadline=deadline, entropies=True
        )
        missing = len(subject.cut) - len(subject.read)
        return (*stats.entropies, *(0.0,) * missing), (stats.intake,)

    def _cut(self, completion: Completion, entropies: Entropies | None) -> tuple[Segment, ...]:
        how = self._options.cut
        segments = cut(completion, entropies, how, end_marker=self._pays_marker)
        if not segments and self._mode is Mode.COMPAT:
            return cut(
                completion, entropies, how, end_marker=True
            )  # the released code pays a lone marker (S2)
        return segments

    async def _credit(
        self, rollout: Rollout, subject: Subject, segments: tuple[Segment, ...], deadline: Deadline
    ) -> Credit:
        if not segments:
            return Credit((), 0.0, ())
        on_marker = segments[-1].end > len(subject.read)
        ask = Ask(
            prompt=rollout.prompt,
            completion=subject.read,
            segments=subject.as_read(segments),
            window=self._options.window,
            deadline=deadline,
            closing=on_marker or self._options.cut.boundary_mode is BoundaryMode.BANDIT,
        )
        return await self._source.credit(ask)

    def _scored(
        self, completion: Completion, segments: tuple[Segment, ...], credit: Credit
    ) -> tuple[ScoredSegment, ...]:
        scored = []
        for index, (segment, raw) in enumerate(zip(segments, credit.raws, strict=True), start=1):
            progress = index / len(segments)
            scale = normalize(raw, progress, self._options.scale, self._options.std_floor)
            scored.append(
                ScoredSegment(
                    segment=segment,
                    span=completion.alignment.span_of(segment),
                    raw=raw,
                    reward=scale.reward,
                    progress=progress,
                    mean=scale.mean,
                    std=scale.std,
                    std_floored=scale.floored,
                )
            )
        return tuple(scored)

    def _spread(self, completion: Completion, scored: tuple[ScoredSegment, ...]) -> tuple[float, ...]:
        options = self._options
        tokens = interpolate(
            completion,
            [part.segment for part in scored],
            [part.reward for part in scored],
            options.interpolation,
        )
        if options.length_norm:
            length = _own_tokens(completion)
            tokens = [value / length for value in tokens]
        return tuple(clamped(tokens, options.clamp))

    def _too_long(self, completion: Completion, intakes: tuple[Intake, ...]) -> bool:
        """Whether the end penalty applies: the policy did not stop, or not in time (papers.md 2.4)."""
        options = self._options
        if options.end_penalty is None:
            return False
        length = _own_tokens(completion)
        if self._mode is Mode.COMPAT:  # the released code takes the prompt off, which was never in
            length -= max((intake.prompt_length for intake in intakes), default=0)
        return completion.truncated or length > options.len_threshold

    def _penalty(self, completion: Completion) -> tuple[float, ...]:
        penalty = self._options.end_penalty or 0.0
        return tuple(0.0 if is_masked(completion, index) else penalty for index in range(len(completion)))


def _own_tokens(completion: Completion) -> int:
    """Tokens that the policy wrote, its end marker included."""
    return sum(not is_masked(completion, index) for index in range(len(completion)))
