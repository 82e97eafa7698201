"""Where the raw rewards of segments come from: one class a method, one or two engine calls each.

Each answers the same question, so that cutting, normalizing and spreading are the same for all: what was each segment
worth, and the completion as a whole?
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Protocol

from ..domain.ports import Attends, Deadline, Engine, Intake, ScoresSegments, WeighsTokens, Window
from ..domain.rollout import Completion, Message
from ..domain.text import Segment


@dataclass(frozen=True, slots=True)
class Ask:
    """What is to be credited, and how the models may look at it. ``closing``: see ``ScoresSegments.score``."""

    prompt: tuple[Message, ...]
    completion: Completion
    segments: tuple[Segment, ...]
    window: Window
    deadline: Deadline
    closing: bool = False


@dataclass(frozen=True, slots=True)
class Credit:
    """The raw reward of each segment in order, that of the completion, and what the models took in."""

    raws: tuple[float, ...]
    sequence_score: float
    intakes: tuple[Intake, ...]


class CreditSource(Protocol):
    """Puts a raw reward on every segment."""

    @property
    def engine(self) -> Engine:
        """The model that is asked, one of those where several are asked at once."""
        ...

    async def credit(self, ask: Ask) -> Credit:
        """Raise ``AnnotationFailed`` as the engines do."""
        ...


@dataclass(frozen=True, slots=True)
class SegmentModelCredit:
    """The head of a segment reward model, read where each segment ends (papers.md 2.2); their mean is the score."""

    engine: ScoresSegments

    async def credit(self, ask: Ask) -> Credit:
        """One forward pass."""
        scores = await self.engine.score(
            ask.prompt,
            ask.completion,
            ask.segments,
            window=ask.window,
            deadline=ask.deadline,
            closing=ask.closing,
        )
        return Credit(scores.values, fmean(scores.values), (scores.intake,))


@dataclass(frozen=True, slots=True)
class PrefixDifferences:
    """RED (2411.08302): a segment is worth what it adds to the reward model's score of all that stands so far.

    The score before the first token counts as 0, so the segments' rewards have the completion's score as their sum.
    """

    engine: ScoresSegments

    async def credit(self, ask: Ask) -> Credit:
        """One forward pass: the model is causal, so every prefix is read in it."""
        prefixes = tuple(Segment(0, segment.end) for segment in ask.segments)
        scores = await self.engine.score(
            ask.prompt, ask.completion, prefixes, window=ask.window, deadline=ask.deadline, closing=True
        )
        raws = tuple(after - before for before, after in pairwise((0.0, *scores.values)))
        return Credit(raws, scores.values[-1], (scores.intake,))


@dataclass(frozen=True, slots=True)
class AttentionShares:
    """ABC (2402.00782): the reward model's score, parted by where it looked when it gave it.

    What it looked at outside of the segments is left out of the reckoning, so that the segments' rewards have the
    score as their sum; where it looked at none of them, each token has the same share.
    """

    engine: Attends

    async def credit(self, ask: Ask) -> Credit:
        """One forward pass."""
        seen = await self.engine.attend(ask.prompt, ask.completion, window=ask.window, deadline=ask.deadline)
        looks = [sum(seen.weights[segment.start : segment.end]) for segment in ask.segments]
        total = sum(looks)
        if total <= 0:
            looks, total = [float(len(segment)) for segment in ask.segments], sum(map(len, ask.segments))
        return Credit(tuple(seen.score * look / total for look in looks), seen.score, (seen.intake,))


@dataclass(frozen=True, slots=True)
class ImplicitReward:
    """Implicit process reward (2412.01981): ``beta * log(p_model / p_reference)``, summed over a segment's tokens."""

    model: WeighsTokens
    reference: WeighsTokens
    beta: float

    @property
    def engine(self) -> Engine:
        """Both are asked at once."""
        return self.model

    async def credit(self, ask: Ask) -> Credit:
        """One forward pass of each model."""
        own, other = await asyncio.gather(
            *(
                engine.weigh(ask.prompt, ask.completion, window=ask.window, deadline=ask.deadline)
                for engine in (self.model, self.reference)
            )
        )
        raws = tuple(
            self.beta * (_total(own.logprobs, segment) - _total(other.logprobs, segment))
            for segment in ask.segments
        )
        return Credit(raws, sum(raws), (own.intake, other.intake))


def _total(values: Sequence[float], segment: Segment) -> float:
    return sum(values[segment.start : segment.end])
