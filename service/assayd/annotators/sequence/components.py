"""The parts of a reward: hosted models, rules, a hook, questions to the critic. Each puts one number on a rollout."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Protocol, TypeAlias

from ...domain.failure import AnnotationFailed, FailureKind
from ...domain.ports import Deadline, Intake, SegmentScores, WeighsTokens, Window
from ...domain.provenance import ModelRef, Usage
from ...domain.rollout import Completion, Message, Rollout
from ...domain.sequence import CriterionScore, PairScore, ScoresByHook
from ...domain.text import Segment
from ..cutting import Cut, content_end, cut, own_runs
from ..exhibit import prompt_text
from ..prompting import Prompt
from .diversity import DocumentFrequencies, diversity
from .judging import Answered, ByProbability, ByVotes, all_or_none, question_about
from .options import Activation, Criterion, Kind


@dataclass(frozen=True, slots=True)
class Measured:
    """The raw number of one component, and what it took."""

    raw: float
    usage: Usage = field(default_factory=Usage)
    criteria: tuple[CriterionScore, ...] = ()
    intakes: tuple[Intake, ...] = ()


class Source(Protocol):
    """Where a component's raw number comes from."""

    async def measure(self, rollout: Rollout, deadline: Deadline) -> Measured:
        """Raise ``AnnotationFailed`` where there is no number."""
        ...


@dataclass(frozen=True, slots=True)
class HostedReward:
    """A reward model as it is hosted.

    ``cut`` is how it was trained to be read: the mean of its head at the ends of segments (papers.md 2.2). Without
    one it is read once, on the end marker behind the completion, as causal sequence classifiers are. ``pair`` says that
    ``engine`` is one of the others (``ScoresPairs``), which read prompt and completion as two texts. Scores are brought
    to ``(score - center) / scale``.
    """

    engine: Any  # ScoresSegments, or ScoresPairs where ``pair``
    activation: Activation
    cut: Cut | None = None
    weigher: WeighsTokens | None = None
    pair: bool = False
    label: str | None = None
    center: float = 0.0
    scale: float = 1.0

    def standardized(self, score: float) -> float:
        """A score as the activation takes it."""
        return (score - self.center) / self.scale


@dataclass(frozen=True, slots=True)
class Tools:
    """What components are made with.

    ``critic`` is None where the service's answers no questions; ``chooses`` says whether it tells probabilities.
    """

    rewards: Mapping[str, HostedReward]
    hooks: Mapping[str, ScoresByHook]
    frequencies: DocumentFrequencies
    prompts: Mapping[str, Prompt]
    critic: Any  # Generates, and Chooses where ``chooses``

    @property
    def chooses(self) -> bool:
        """Whether the critic can say how sure it is of a word."""
        return hasattr(self.critic, "choose")


_Parts: TypeAlias = tuple[tuple[Segment, ...], tuple[Intake, ...]]
"""Where to read a model, and what it took to find out."""


def _whole(completion: Completion) -> _Parts:
    return (Segment(0, len(completion)),), ()


@dataclass(frozen=True, slots=True)
class ModelReward:
    """The score of a hosted reward model."""

    hosted: HostedReward
    window: Window

    async def measure(self, rollout: Rollout, deadline: Deadline) -> Measured:
        """One forward pass, and one of the entropy model where it says where to cut."""
        how, completion = self.hosted.cut, rollout.completion
        if self.hosted.pair:
            scored: PairScore = await self.hosted.engine.score_pair(
                rollout.prompt, completion.text, window=self.window, deadline=deadline
            )
            raw = self.hosted.standardized(scored.value)
            return Measured(raw, scored.intake.usage, intakes=(scored.intake,))
        if how is None:
            segments, weighed = _whole(completion)
        else:
            segments, weighed = await self._cut(how, rollout.prompt, completion, deadline)
        scores: SegmentScores = await self.hosted.engine.score(
            rollout.prompt,
            completion,
            segments,
            window=self.window,
            deadline=deadline,
            closing=how is None,
        )
        intakes = (*weighed, scores.intake)
        raw = self.hosted.standardized(fmean(scores.values))
        return Measured(raw, sum((intake.usage for intake in intakes), Usage()), intakes=intakes)

    async def _cut(
        self, how: Cut, prompt: tuple[Message, ...], completion: Completion, deadline: Deadline
    ) -> _Parts:
        entropies: tuple[float, ...] | None = None
        weighed: tuple[Intake, ...] = ()
        if how.needs_entropies:
            if self.hosted.weigher is None:
                raise ValueError("a reward model that is cut by entropy was opened without a model for it")
            stats = await self.hosted.weigher.weigh(
                prompt, completion, window=self.window, deadline=deadline, entropies=True
            )
            entropies, weighed = stats.entropies, (stats.intake,)
        segments = cut(completion, entropies, how)
        if not segments:
            raise AnnotationFailed(FailureKind.EMPTY, "the policy wrote no text that could be scored")
        return segments, weighed


@dataclass(frozen=True, slots=True)
class Diversity:
    """How telling the words are (A5)."""

    table: DocumentFrequencies

    async def measure(self, rollout: Rollout, deadline: Deadline) -> Measured:
        """Pure reckoning."""
        return Measured(diversity(rollout.completion.text, self.table))


@dataclass(frozen=True, slots=True)
class Length:
    """The share of ``target`` tokens that the policy wrote, 1 at most; its end marker is none of them."""

    target: int

    async def measure(self, rollout: Rollout, deadline: Deadline) -> Measured:
        """Pure reckoning."""
        completion = rollout.completion
        written = sum(len(run) for run in own_runs(completion, content_end(completion)))
        return Measured(min(1.0, written / self.target))


@dataclass(frozen=True, slots=True)
class Extrinsic:
    """The trainer's own reward."""

    async def measure(self, rollout: Rollout, deadline: Deadline) -> Measured:
        """Raise ``AnnotationFailed`` (``invalid``) where the rollout brings none."""
        reward = rollout.extrinsic if rollout.outcome is None else rollout.outcome
        if reward is None:
            raise AnnotationFailed(
                FailureKind.INVALID, "this rollout has no extrinsic_reward, and its reward is made of it"
            )
        return Measured(reward)


@dataclass(frozen=True, slots=True)
class Hook:
    """What a function says."""

    function: ScoresByHook

    async def measure(self, rollout: Rollout, deadline: Deadline) -> Measured:
        """One call in a thread."""
        prompt, text = prompt_text(rollout.prompt), rollout.completion.text
        return Measured(await self.function.score(prompt, text, rollout.reference, deadline=deadline))


@dataclass(frozen=True, slots=True)
class Judge:
    """How surely the critic answers a question with Yes."""

    way: ByProbability | ByVotes
    prompt: Prompt
    question: str

    async def measure(self, rollout: Rollout, deadline: Deadline) -> Measured:
        """One question."""
        answered = await self.way.ask(question_about(rollout, self.prompt, self.question), deadline)
        return Measured(answered.yes, answered.usage)


@dataclass(frozen=True, slots=True)
class Rubric:
    """The weights of the criteria that are met, as a share of the weights above 0.

    Weights below 0 are taken off, so the share may be below 0. Each criterion is asked about on its own: none can
    be traded for another.
    """

    way: ByProbability | ByVotes
    prompt: Prompt
    criteria: tuple[Criterion, ...]

    async def measure(self, rollout: Rollout, deadline: Deadline) -> Measured:
        """One question a criterion."""
        answers: list[Answered] = await all_or_none(
            self.way.ask(question_about(rollout, self.prompt, criterion.description), deadline)
            for criterion in self.criteria
        )
        scores = tuple(
            CriterionScore(criterion.name, criterion.weight, answer.yes, answer.votes)
            for criterion, answer in zip(self.criteria, answers, strict=True)
        )
        best = math.fsum(max(score.weight, 0.0) for score in scores)
        met = math.fsum(score.weight * score.score for score in scores)
        return Measured(met / best, sum((answer.usage for answer in answers), Usage()), scores)


@dataclass(frozen=True, slots=True)
class Component:
    """A source, and how its number joins the reward. ``record`` is what the recipe says of it."""

    name: str
    kind: Kind
    source: Source
    weight: float
    activation: Activation
    record: Mapping[str, Any]
    model: ModelRef | None = None
    reproducible: bool = True


def activated(raw: float, activation: Activation) -> float:
    """``raw`` behind its activation; the sigmoid overflows for no number."""
    if activation is Activation.RAW:
        return raw
    return 1 / (1 + math.exp(-raw)) if raw >= 0 else math.exp(raw) / (1 + math.exp(raw))
