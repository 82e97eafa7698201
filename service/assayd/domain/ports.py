"""What annotators ask of the world: narrow engine protocols named by verb, and a deadline that travels."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self, TypeVar, runtime_checkable

from .caller import Caller
from .provenance import ModelRef, Recipe, Usage
from .rollout import Completion, Message, Rollout
from .text import Segment


class Annotation(Protocol):
    """What an annotator makes of one rollout."""

    @property
    def transient(self) -> bool:
        """Whether it holds for this moment only, so that nobody may remember it."""
        ...


A_co = TypeVar("A_co", bound=Annotation, covariant=True)


@dataclass(frozen=True, slots=True)
class Deadline:
    """The instant, on the monotonic clock, after which nobody waits for the answer any more."""

    at_s: float

    @classmethod
    def after(cls, timeout_s: float) -> Self:
        """The deadline ``timeout_s`` seconds from now."""
        return cls(time.monotonic() + timeout_s)

    @property
    def remaining_s(self) -> float:
        """Seconds left; zero or less once it has passed."""
        return self.at_s - time.monotonic()

    @property
    def passed(self) -> bool:
        """Whether it is too late."""
        return self.remaining_s <= 0


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to decode. ``temperature`` 0 is greedy and makes ``top_p`` and ``seed`` moot."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    json_schema: str | None = None
    """JSON text of the schema that the reply is to follow.

    An engine that can hold a reply to it does, another one ignores it: replies are parsed either way.
    """

    @property
    def reproducible(self) -> bool:
        """Whether the same call gives the same text again."""
        return self.temperature == 0.0 or self.seed is not None


class FinishReason(StrEnum):
    """Why a generation ended."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Generation:
    """What a model said. ``text`` holds neither the stop string nor the end marker."""

    text: str
    finish: FinishReason
    usage: Usage


@dataclass(frozen=True, slots=True)
class Outage:
    """Why an engine cannot answer now. ``retry_after_s`` is when it may again, None where waiting does not help."""

    detail: str
    retry_after_s: float | None


class Engine(Protocol):
    """A hosted model."""

    @property
    def model(self) -> ModelRef:
        """The model that answers, pinned."""
        ...

    async def ready(self) -> bool:
        """Whether a question would be taken up now; nothing is computed to know it."""
        ...

    @property
    def failing(self) -> bool:
        """Whether its last work failed, so that only an answer can show that it still can."""
        ...

    async def close(self) -> None:
        """Let go of everything; safe to call twice."""
        ...


class Queue(Protocol):
    """Those who wait for an engine."""

    max_tokens: int

    @property
    def tokens_per_s(self) -> float | None:
        """How fast they are served, None while that is not known."""
        ...

    def tokens_before(self, caller: Caller) -> int:
        """What would be served before a rollout that the caller brings now."""
        ...


@runtime_checkable
class Queues(Protocol):
    """An engine with a line in front."""

    @property
    def line(self) -> Queue:
        """Those who wait for it."""
        ...


class Generates(Engine, Protocol):
    """An engine that writes text."""

    async def generate(
        self, messages: tuple[Message, ...], sampling: Sampling, *, deadline: Deadline
    ) -> Generation:
        """Continue ``messages``.

        Raises ``AnnotationFailed`` with kind ``too_long`` when prompt and ``max_tokens`` exceed the model,
        ``past_deadline`` when time ran out, ``engine`` when the model could not be asked.
        """
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """How much a model may be shown, in its own tokens; None: as much as it holds.

    A prompt beyond ``max_prompt_length`` loses its left part, as in the segment paper. A completion is never cut:
    with its prompt it has to fit into ``max_length``. ``transfer`` False refuses tokens that the model does not
    read as the trainer does.
    """

    max_length: int | None = None
    max_prompt_length: int | None = None
    transfer: bool = True


@dataclass(frozen=True, slots=True)
class Intake:
    """How a model took in one prompt and completion.

    ``prompt_length`` are its tokens of the prompt, ``prompt_tokens_dropped`` those that were cut off on the left.
    ``transferred``: it read tokens of its own, and places were brought over by characters.
    """

    usage: Usage
    prompt_length: int = 0
    prompt_tokens_dropped: int = 0
    transferred: bool = False


@dataclass(frozen=True, slots=True)
class SegmentScores:
    """One raw reward per segment, in order."""

    values: tuple[float, ...]
    intake: Intake


@dataclass(frozen=True, slots=True)
class TokenStats:
    """One value per completion token, in nats; ``entropies`` may be empty where nobody asked for them.

    ``logprobs[j]`` is of token j under the distribution before it, ``entropies[j]`` of the distribution behind it.
    ``averaged`` are probabilities, the mean over each token's characters, of a model that read tokens of its own:
    there the log-probabilities are shares, and say nothing of how likely one token was.
    """

    logprobs: tuple[float, ...]
    entropies: tuple[float, ...]
    intake: Intake
    averaged: tuple[float, ...] | None = None

    @property
    def probs(self) -> tuple[float, ...]:
        """How likely each token was."""
        if self.averaged is not None:
            return self.averaged
        return tuple(min(1.0, math.exp(logprob)) for logprob in self.logprobs)


@dataclass(frozen=True, slots=True)
class Attention:
    """What a reward model says of the whole completion, and where it looked while saying it.

    ``weights`` has one share per completion token, none negative, 1 in all; all 0 where it saw none of them.
    """

    score: float
    weights: tuple[float, ...]
    intake: Intake


class ScoresSegments(Engine, Protocol):
    """An engine that puts a number on pieces of a completion."""

    async def score(
        self,
        prompt: tuple[Message, ...],
        completion: Completion,
        segments: tuple[Segment, ...],
        *,
        window: Window,
        deadline: Deadline,
        closing: bool = False,
    ) -> SegmentScores:
        """Read the model's head at the last token of each segment; one forward pass gives them all.

        ``closing`` reads the last segment on the end marker behind the completion, which is added where there is
        none, unless the completion was truncated. Raises ``AnnotationFailed``: ``too_long``, ``unaligned`` (see
        ``Window.transfer``), ``past_deadline``, ``engine``.
        """
        ...


@runtime_checkable
class Adaptable(Engine, Protocol):
    """An engine with adapters (LoRA) of its model, by task."""

    def adapted(self, task: str) -> Self:
        """The same engine with the adapter of a task, itself where the task has none."""
        ...


@runtime_checkable
class Renders(Engine, Protocol):
    """An engine that writes prompts by the chat template of its model."""

    def rendered(self, messages: tuple[Message, ...]) -> Sequence[int]:
        """The ids that the model reads of a prompt."""
        ...


@runtime_checkable
class Tended(Engine, Protocol):
    """An engine in a process of its own, which may die, be started again, and be sent to sleep."""

    @property
    def outage(self) -> Outage | None:
        """Why it cannot answer now, None while it can."""
        ...

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        ...

    @property
    def may_sleep(self) -> bool:
        """Whether the operator allows it to be sent to sleep."""
        ...

    @property
    def asleep(self) -> bool:
        """Whether it was sent to sleep and not woken since."""
        ...

    async def sleep(self, level: int) -> None:
        """Let go of the device's memory once what is under way has been answered; level 2 drops the weights too."""
        ...

    async def wake(self) -> None:
        """Answer again."""
        ...


class WeighsTokens(Engine, Protocol):
    """An engine that says how likely each token was, and how open the choice behind it."""

    @property
    def entropy_approx(self) -> str | None:
        """How its entropies are approximated, None where they are exact."""
        ...

    async def weigh(
        self,
        prompt: tuple[Message, ...],
        completion: Completion,
        *,
        window: Window,
        deadline: Deadline,
        entropies: bool = False,
    ) -> TokenStats:
        """Log-probability of every completion token, and entropy where it is asked for, or costs nothing.

        Raises like ``ScoresSegments.score``.
        """
        ...


class Attends(Engine, Protocol):
    """A reward model that shows where it looked."""

    async def attend(
        self,
        prompt: tuple[Message, ...],
        completion: Completion,
        *,
        window: Window,
        deadline: Deadline,
    ) -> Attention:
        """The score at the end of the completion, and the attention of that place to each completion token.

        The end marker is included, as by ``closing``. Attention is the mean over the heads of the last layer.
        """
        ...


class Annotator(Protocol[A_co]):
    """The algorithm that makes one kind of annotation. It sees one rollout."""

    @property
    def recipe(self) -> Recipe:
        """What this annotator is, apart from the rollout."""
        ...

    async def annotate(self, rollout: Rollout, *, deadline: Deadline) -> tuple[A_co, Usage]:
        """Judge one rollout, or raise ``AnnotationFailed``."""
        ...


@runtime_checkable
class AsksInTurn(Protocol):
    """An annotator that asks its engines one after the other."""

    def engines_for(self, *, weighed: bool, rewarded: bool) -> Sequence[Engine]:
        """The models that a rollout goes through for certain; none where that depends on more than this.

        ``weighed`` says that it brings its entropies, ``rewarded`` that it brings an extrinsic reward.
        """
        ...
