"""Sequence rewards (A-LoL, 2305.14718; papers.md 4, 5.6): components -> activation -> weighted sum, beside a value.

The scorer sees one rollout. What it takes a whole call to say (advantages over a group, what to keep, how often to
draw it) is made of its annotations by ``advantages``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ...domain.failure import AnnotationFailed, FailureKind, Rejected
from ...domain.ports import Deadline, Intake, TokenStats, WeighsTokens
from ...domain.provenance import ModelRef, Recipe, Usage
from ...domain.rollout import Rollout
from ...domain.sequence import ComponentScore, PromptValue, SequenceAnnotation, ValuesPrompts
from ..options import Mode
from ..scoring import is_masked
from .advantages import ValueSource
from .components import Component, Extrinsic, Measured, Tools, activated
from .judging import all_or_none
from .making import components_of
from .options import SequenceOptions, check
from .recording import BASELINES, record_of, reward_identity

METHOD: Final = "sequence"
RULES: Final = ModelRef("assay/rules", "1")
"""What the recipe names where no model is asked for the reward."""
LARGEST: Final = 1e150
"""Rewards beyond this are no rewards: sums of them would overflow."""


class SequenceScorer:
    """Puts a reward on whole completions, and beside it the value of the reference policy at their prompts.

    ``value_model`` is None where the service hosts no value head. ``value_card`` is what that head says of the reward
    it was trained to foretell; ``reference`` is the reference policy, where the service hosts it. Raises ``Rejected``
    for options that do not go together or with what is hosted.
    """

    def __init__(
        self,
        tools: Tools,
        value_model: ValuesPrompts | None,
        options: SequenceOptions,
        *,
        reference: WeighsTokens | None = None,
        mode: Mode,
        service_version: str,
        tokenizer: ModelRef | None,
        value_card: Mapping[str, Any] | None = None,
    ) -> None:
        check(options, mode)
        self._options = options
        self._components = components_of(options, tools)
        self.value_source = _source(options, hosted=value_model is not None)
        self._value_model = value_model if self.value_source is ValueSource.HEAD else None
        self._reference = _asked_for(reference) if options.return_ref_logprob else None
        self._recipe = Recipe(
            method=METHOD,
            mode=mode.value,
            model=next((part.model for part in self._components if part.model is not None), RULES),
            options=self._settled(value_card),
            service_version=service_version,
            tokenizer=tokenizer,
            other_models=self._other_models(),
            cacheable=all(part.reproducible for part in self._components),
        )

    @property
    def recipe(self) -> Recipe:
        """What this scorer is, apart from the rollout.

        ``dataset_weight_sum`` is not in it: like the moments of the extrinsic normalizer it belongs to one call.
        """
        return self._recipe

    async def annotate(self, rollout: Rollout, *, deadline: Deadline) -> tuple[SequenceAnnotation, Usage]:
        """Reward one completion.

        Raises ``AnnotationFailed``: ``empty`` without text of the policy, ``invalid`` where the rollout lacks what
        its reward or value is made of, and whatever its components raise.
        """
        if not _says_something(rollout):
            raise AnnotationFailed(FailureKind.EMPTY, "the policy wrote no text of the completion")
        if self.value_source is ValueSource.PROVIDED and rollout.value is None:
            raise AnnotationFailed(
                FailureKind.INVALID, "value_source is `provided`, but this rollout has no value"
            )
        taken = _Taken(
            *await all_or_none(
                (
                    self._measured(rollout, deadline),
                    self._valued(rollout, deadline),
                    self._weighed(rollout, deadline),
                )
            )
        )
        scores = tuple(_score(part, one) for part, one in zip(self._components, taken.measured, strict=True))
        annotation = SequenceAnnotation(
            components=scores,
            reward=_sum(scores) if scores else (await Extrinsic().measure(rollout, deadline)).raw,
            value=self._value(rollout, taken.value),
            ref_logprob=_own_logprob(rollout, taken.stats),
            transferred=any(intake.transferred for intake in taken.intakes),
            prompt_tokens_dropped=max((intake.prompt_tokens_dropped for intake in taken.intakes), default=0),
        )
        if not abs(annotation.reward) <= LARGEST:
            raise AnnotationFailed(
                FailureKind.INVALID, f"a reward of {annotation.reward:g} is no usable number"
            )
        return annotation, taken.usage

    def _value(self, rollout: Rollout, valued: PromptValue | None) -> float | None:
        if valued is not None:
            return valued.value
        return rollout.value if self.value_source is ValueSource.PROVIDED else None

    async def _measured(self, rollout: Rollout, deadline: Deadline) -> list[Measured]:
        return await all_or_none(_measured(part, rollout, deadline) for part in self._components)

    async def _valued(self, rollout: Rollout, deadline: Deadline) -> PromptValue | None:
        if self._value_model is None:
            return None
        return await self._value_model.value(rollout.prompt, window=self._options.window, deadline=deadline)

    async def _weighed(self, rollout: Rollout, deadline: Deadline) -> TokenStats | None:
        if self._reference is None:
            return None
        return await self._reference.weigh(
            rollout.prompt, rollout.completion, window=self._options.window, deadline=deadline
        )

    def _settled(self, value_card: Mapping[str, Any] | None) -> dict[str, Any]:
        options = self._options
        parts = [record_of(part) for part in self._components]
        settled = {
            "components": parts,
            "value_source": self.value_source.value,
            "baseline": BASELINES[self.value_source],
            "sampling": options.sampling.value,
            "eps": options.eps,
            "return_ref_logprob": options.return_ref_logprob,
            "max_length": options.max_length,
            "max_prompt_length": options.max_prompt_length,
            "tokenizer_policy": options.tokenizer_policy.value,
        }
        if self.value_source is ValueSource.HEAD:
            trained = (value_card or {}).get("reward")
            # A head foretells one reward; beside another one its advantages mean little.
            settled["value_is_of_this_reward"] = (
                None if trained is None else trained == reward_identity(parts)
            )
        return settled

    def _other_models(self) -> dict[str, ModelRef]:
        others = {part.name: part.model for part in self._components if part.model is not None}
        named = {f"component {name}": ref for name, ref in others.items()}
        beside: dict[str, Any] = {"value": self._value_model, "reference": self._reference}
        return named | {use: engine.model for use, engine in beside.items() if engine is not None}


@dataclass(frozen=True, slots=True)
class _Taken:
    """All that was asked of models and rules about one rollout."""

    measured: list[Measured]
    value: PromptValue | None
    stats: TokenStats | None

    @property
    def intakes(self) -> list[Intake]:
        """How the models took it in."""
        beside = [more.intake for more in (self.value, self.stats) if more is not None]
        return [intake for one in self.measured for intake in one.intakes] + beside

    @property
    def usage(self) -> Usage:
        """What it cost."""
        beside = [more.intake.usage for more in (self.value, self.stats) if more is not None]
        return sum((*(one.usage for one in self.measured), *beside), Usage())


def _source(options: SequenceOptions, *, hosted: bool) -> ValueSource:
    if options.value_source is ValueSource.HEAD and not hosted:
        raise Rejected(
            FailureKind.INVALID,
            "this service hosts no value head: train one with `assayd train value` and name it with "
            "ASSAY_SEQUENCE__VALUE_MODEL, or choose another value_source",
            pointer="/options/value_source",
        )
    if options.value_source is None:
        return ValueSource.HEAD if hosted else ValueSource.NONE
    return ValueSource(options.value_source)


def _asked_for(reference: WeighsTokens | None) -> WeighsTokens:
    if reference is None:
        raise Rejected(
            FailureKind.INVALID,
            "this service hosts no reference policy: name it with ASSAY_SEQUENCE__REFERENCE_MODEL",
            pointer="/options/return_ref_logprob",
        )
    return reference


def _own_logprob(rollout: Rollout, stats: TokenStats | None) -> float | None:
    """The log-probability of the tokens that the policy wrote."""
    if stats is None:
        return None
    return math.fsum(
        logprob for index, logprob in enumerate(stats.logprobs) if not is_masked(rollout.completion, index)
    )


def _says_something(rollout: Rollout) -> bool:
    completion = rollout.completion
    own = completion.mask or (True,) * len(completion)
    spans = completion.alignment.token_spans
    return any(
        written and index not in completion.special and span.of(completion.text).strip()
        for index, (written, span) in enumerate(zip(own, spans, strict=True))
    )


async def _measured(part: Component, rollout: Rollout, deadline: Deadline) -> Measured:
    try:
        return await part.source.measure(rollout, deadline)
    except AnnotationFailed as failure:
        raise failure.restated(detail=f"component {part.name!r}: {failure.detail}") from failure


def _sum(scores: Sequence[ComponentScore]) -> float:
    return math.fsum(score.weight * score.value for score in scores) + 0.0  # never -0.0


def _score(part: Component, measured: Measured) -> ComponentScore:
    value = activated(measured.raw, part.activation)
    return ComponentScore(part.name, measured.raw, value, part.weight, measured.criteria)
