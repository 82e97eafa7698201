"""What the reference policy itself writes, and what it is worth by the very road of ``/score/sequence``.

A value head is trained on this and on nothing else: completions of a data set are not the reference policy's.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .annotators.options import Mode
from .annotators.sequence import SequenceOptions, SequenceScorer
from .annotators.sequence.recording import reward_identity
from .domain.failure import AnnotationFailed, Failure
from .domain.ports import Deadline, FinishReason, Generates, Sampling
from .domain.rollout import Completion, Message, Rollout
from .engines import POCKET_CRITIC
from .engines.tokenizers import Aligner, RawCompletion
from .hosting import Hosting
from .sequence_models import open_sequence_models
from .settings import EngineSettings, SequenceSettings

IN_FLIGHT = 128
PATIENCE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Rewarded:
    """One completion of the reference policy at prompt number ``prompt``, and its reward."""

    prompt: int
    completion: str
    reward: float


@dataclass(frozen=True, slots=True)
class Generated:
    """What was written and rewarded, in order; why others were not; and what the reward is made of."""

    rows: list[Rewarded]
    failures: list[Failure]
    reward: list[dict[str, Any]]


async def generate_and_reward(
    policy: EngineSettings,
    rewards: SequenceSettings,
    prompts: Sequence[tuple[Message, ...]],
    options: SequenceOptions,
    *,
    samples: int,
    sampling: Sampling,
) -> Generated:
    """Let the policy write ``samples`` completions a prompt and reward each; sample ``i`` of a run has seed ``+ i``."""
    async with Hosting() as hosting:
        engine: Generates = await hosting.open(policy, "Generator")
        models = await open_sequence_models(rewards, hosting)
        scorer = models.annotator(Mode.STRICT, options, None, None)
        work = _Work(engine, scorer, Aligner(POCKET_CRITIC), models.tokenizer, asyncio.Semaphore(IN_FLIGHT))
        outcomes = await asyncio.gather(
            *(
                work.rewarded(at, prompt, _seeded(sampling, at * samples + sample))
                for at, prompt in enumerate(prompts)
                for sample in range(samples)
            )
        )
    parts: Sequence[Mapping[str, Any]] = scorer.recipe.options["components"]
    return Generated(
        [outcome for outcome in outcomes if isinstance(outcome, Rewarded)],
        [outcome for outcome in outcomes if isinstance(outcome, Failure)],
        reward_identity(parts),
    )


@dataclass(frozen=True, slots=True)
class _Work:
    policy: Generates
    scorer: SequenceScorer
    aligner: Aligner
    tokenizer: tuple[str, str | None] | None
    turn: asyncio.Semaphore

    async def rewarded(self, at: int, prompt: tuple[Message, ...], sampling: Sampling) -> Rewarded | Failure:
        async with self.turn:
            deadline = Deadline.after(PATIENCE_S)
            try:
                said = await self.policy.generate(prompt, sampling, deadline=deadline)
                raw = RawCompletion(text=said.text, truncated=said.finish is FinishReason.LENGTH)
                (completion,) = await self.aligner.align_all([raw], own=self.tokenizer)
                if not isinstance(completion, Completion):
                    return completion
                annotation, _ = await self.scorer.annotate(Rollout("", prompt, completion), deadline=deadline)
            except AnnotationFailed as failure:
                return failure.failure
        return Rewarded(at, said.text, annotation.reward)


def _seeded(sampling: Sampling, place: int) -> Sampling:
    seed = None if sampling.seed is None else (sampling.seed + place) % 2**32
    return replace(sampling, seed=seed)
