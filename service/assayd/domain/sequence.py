"""What a whole completion is worth, and what the reference policy would have been worth in its place."""

from dataclasses import dataclass
from typing import Protocol

from .ports import Deadline, Intake, Window
from .provenance import ModelRef, Usage
from .rollout import Message


@dataclass(frozen=True, slots=True)
class CriterionScore:
    """How far one criterion of a rubric is met, in [0, 1]; ``votes`` is how many replies that was counted from.

    ``votes`` is 0 where the number is the probability of the answer "Yes" itself.
    """

    name: str
    weight: float
    score: float
    votes: int = 0


@dataclass(frozen=True, slots=True)
class ComponentScore:
    """One part of a reward: ``raw`` as it was measured, ``value`` behind the activation, before the weight."""

    name: str
    raw: float
    value: float
    weight: float
    criteria: tuple[CriterionScore, ...] = ()


@dataclass(frozen=True, slots=True)
class SequenceAnnotation:
    """One finite reward for a completion: the weighted sum of its components, or the extrinsic reward without any.

    ``value`` is what the reference policy's completions of the same prompt are worth on average, by a value head or
    by the caller; None where nobody said so, or where only the call as a whole can tell. ``ref_logprob`` (nats) is that
    of the policy's tokens under the reference policy, where the caller asked for it. ``transferred`` and
    ``prompt_tokens_dropped``: see ``Intake``, of whichever model it holds for.
    """

    components: tuple[ComponentScore, ...]
    reward: float
    value: float | None = None
    ref_logprob: float | None = None
    transferred: bool = False
    prompt_tokens_dropped: int = 0
    transient: bool = False


@dataclass(frozen=True, slots=True)
class PromptValue:
    """The value of the reference policy at a prompt, and how its model took the prompt in."""

    value: float
    intake: Intake


@dataclass(frozen=True, slots=True)
class PairScore:
    """What a classifier says of a prompt and a completion together."""

    value: float
    intake: Intake


class ScoresPairs(Protocol):
    """A reward model that reads prompt and completion as two texts, both ways."""

    @property
    def model(self) -> ModelRef:
        """The model that answers, pinned."""
        ...

    async def score_pair(
        self, prompt: tuple[Message, ...], text: str, *, window: Window, deadline: Deadline
    ) -> PairScore:
        """One forward pass; raises ``AnnotationFailed`` as ``ScoresSegments.score`` does."""
        ...


class ValuesPrompts(Protocol):
    """A hosted value head over a frozen reference policy."""

    @property
    def model(self) -> ModelRef:
        """The head, pinned; its base is pinned by its card."""
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

    async def value(self, prompt: tuple[Message, ...], *, window: Window, deadline: Deadline) -> PromptValue:
        """The value at one prompt; raises ``AnnotationFailed`` as ``ScoresSegments.score`` does."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """The probability that a reply begins with each of some words, and what it cost to ask. They may sum to less."""

    shares: tuple[float, ...]
    usage: Usage


class Chooses(Protocol):
    """A model that says how likely it would begin its reply with one word or another."""

    async def choose(
        self, messages: tuple[Message, ...], words: tuple[str, ...], *, deadline: Deadline
    ) -> Choice:
        """The probability of each word as the first token, whatever its case and the space before it.

        Raises ``AnnotationFailed`` as ``Generates.generate`` does.
        """
        ...


class ScoresByHook(Protocol):
    """A function of the one who runs the service."""

    @property
    def source(self) -> ModelRef:
        """What is called, and the digest of the file that holds it."""
        ...

    async def score(
        self, prompt: str, completion: str, reference: str | None, *, deadline: Deadline
    ) -> float:
        """Raise ``AnnotationFailed``: ``past_deadline``, ``internal`` where it raises or gives no finite number."""
        ...
