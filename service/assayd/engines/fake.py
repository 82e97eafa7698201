"""Engines without weights, for the tests of those who build on Assay: scripted, or by a rule anyone can foresee."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, Self, TypeAlias, TypeVar

from ..domain.failure import AnnotationFailed
from ..domain.ports import (
    Attention,
    Deadline,
    FinishReason,
    Generation,
    Intake,
    Sampling,
    SegmentScores,
    TokenStats,
    Window,
)
from ..domain.provenance import ModelRef, Usage
from ..domain.rollout import Completion, Message
from ..domain.sequence import PromptValue
from ..domain.text import Segment
from ..settings import EngineSettings
from .lateness import refuse_late

MODEL: Final = ModelRef("assay/fake", "1")
_STEPS: Final = re.compile(r"^\[(\d+)\] ", re.MULTILINE)
_WORD: Final = re.compile(r"\s*\S+|\s+$")
_REMEMBERED: Final = 1000
_OPEN_ENTROPY: Final = 3.0
_LOGPROB: Final = -1.0
_HALF: Final = 0.5
_SENTENCE_ENDS: Final = (".", "!", "?", "\n")

Reply: TypeAlias = str | AnnotationFailed
Scores: TypeAlias = Sequence[float] | AnnotationFailed
Entropies: TypeAlias = Sequence[float] | AnnotationFailed
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


def content_critic(messages: tuple[Message, ...]) -> Reply:
    """A critic that finds nothing, in the grammar that the last message asks for.

    Who asks for the first wrong step is told ``correct``. Steps that are labelled ``[0] ``, ``[1] `` and so on are
    called correct one by one (the last such list: the ones before it are examples); who asks for ``"remarks"`` gets
    an empty list; who asks for a negative section gets two empty sections; who asks for Yes or No gets Yes; everyone
    else ``None identified``.
    """
    asked = messages[-1].content if messages else ""
    if "The first error step is [k]" in asked:
        return "correct"
    if '"remarks"' in asked:
        return '{"remarks": []}'
    if "Identified Negative Text Span:" in asked:
        return "None identified\nIdentified Negative Text Span:\nNone identified"
    if asked.endswith(("Yes or No.", "Verdict: No")):
        return "Verdict: Yes" if asked.endswith("No") else "Yes"
    steps = _STEPS.findall(asked[asked.rfind("\n[0] ") + 1 :]) if "\n[0] " in asked else []
    return "\n".join(f'[{step}] "" | fake | correct' for step in steps) or "None identified"


def characters(texts: tuple[str, ...]) -> Scores:
    """A segment is worth a tenth of its characters."""
    return [len(text) / 10 for text in texts]


def open_after_sentences(tokens: tuple[str, ...]) -> Entropies:
    """The choice is open (3 nats) behind a token whose text ends in a full stop, ``!``, ``?`` or a line break."""
    return [_OPEN_ENTROPY if token.endswith(_SENTENCE_ENDS) else 0.0 for token in tokens]


class _Scripted(Generic[Asked, Answer]):
    """Answers with the queued answers in order, then by ``rule``; an ``AnnotationFailed`` is raised."""

    def __init__(
        self, queue: Iterable[Answer | AnnotationFailed], rule: Callable[[Asked], Answer | AnnotationFailed]
    ):
        self.model = MODEL
        self._queue = deque(queue)
        self._rule = rule

    @classmethod
    async def open(cls, settings: EngineSettings) -> Self:
        """Open without a script: the rule answers. The settings change nothing."""
        return cls()  # type: ignore[call-arg]  # every host below has defaults

    def enqueue(self, *answers: Answer | AnnotationFailed) -> None:
        """Answer the next calls with these."""
        self._queue.extend(answers)

    async def ready(self) -> bool:
        """Whether it can answer: always."""
        return True

    @property
    def failing(self) -> bool:
        """Never, whatever was scripted."""
        return False

    async def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def _answer(self, asked: Asked, deadline: Deadline) -> Answer:
        refuse_late(deadline)
        answer = self._queue.popleft() if self._queue else self._rule(asked)
        if isinstance(answer, AnnotationFailed):
            raise answer
        return answer


class Generator(_Scripted[tuple[Message, ...], str]):
    """Writes the queued ``replies`` in order, then by ``rule``; an ``AnnotationFailed`` is raised.

    A token is a word with the white space before it. ``history`` holds the latest calls: messages and sampling.
    """

    def __init__(
        self, replies: Iterable[Reply] = (), *, rule: Callable[[tuple[Message, ...]], Reply] = content_critic
    ) -> None:
        super().__init__(replies, rule)
        self.history: deque[tuple[tuple[Message, ...], Sampling]] = deque(maxlen=_REMEMBERED)

    async def generate(
        self, messages: tuple[Message, ...], sampling: Sampling, *, deadline: Deadline
    ) -> Generation:
        """Give the next reply, cut at stop strings and ``max_tokens`` as a model would; no schema changes it."""
        self.history.append((messages, sampling))
        reply = self._answer(messages, deadline)
        for stop in sampling.stop:
            reply = reply.partition(stop)[0]
        words = _WORD.findall(reply)
        written = words[: sampling.max_tokens]
        usage = Usage(1, sum(len(_WORD.findall(message.content)) for message in messages), len(written))
        finish = FinishReason.STOP if len(written) == len(words) else FinishReason.LENGTH
        return Generation("".join(written), finish, usage)


class SegmentScorer(_Scripted[tuple[str, ...], Sequence[float]]):
    """Scores with the queued ``scores`` in order (one number per segment), then by ``rule``.

    The rule is asked with the texts of the segments, or with the whole text to ``attend`` to it, which looks at
    every character alike. ``history`` holds the latest questions.
    """

    def __init__(
        self, scores: Iterable[Scores] = (), *, rule: Callable[[tuple[str, ...]], Scores] = characters
    ) -> None:
        super().__init__(scores, rule)
        self.card = None
        self.history: deque[tuple[str, ...]] = deque(maxlen=_REMEMBERED)

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
        """Give the next scores."""
        texts = tuple(completion.alignment.span_of(segment).of(completion.text) for segment in segments)
        self.history.append(texts)
        return SegmentScores(tuple(self._answer(texts, deadline)), _intake(completion))

    async def attend(
        self, prompt: tuple[Message, ...], completion: Completion, *, window: Window, deadline: Deadline
    ) -> Attention:
        """Give the next score (the first of it), and an equal look at every character."""
        self.history.append((completion.text,))
        score = self._answer((completion.text,), deadline)[0]
        lengths = [len(span) for span in completion.alignment.token_spans]
        total = sum(lengths) or 1
        return Attention(score, tuple(length / total for length in lengths), _intake(completion))


class TokenWeigher(_Scripted[tuple[str, ...], Sequence[float]]):
    """Weighs with the queued ``entropies`` in order (one per token), then by ``rule``; log-probabilities are -1.

    The rule is asked with the texts of the tokens. ``history`` holds the latest questions.
    """

    entropy_approx: str | None = None

    def __init__(
        self,
        entropies: Iterable[Entropies] = (),
        *,
        rule: Callable[[tuple[str, ...]], Entropies] = open_after_sentences,
    ) -> None:
        super().__init__(entropies, rule)
        self.history: deque[tuple[str, ...]] = deque(maxlen=_REMEMBERED)

    async def weigh(
        self,
        prompt: tuple[Message, ...],
        completion: Completion,
        *,
        window: Window,
        deadline: Deadline,
        entropies: bool = False,
    ) -> TokenStats:
        """Give the next entropies."""
        tokens = tuple(span.of(completion.text) for span in completion.alignment.token_spans)
        self.history.append(tokens)
        told = tuple(self._answer(tokens, deadline))
        return TokenStats((_LOGPROB,) * len(tokens), told, _intake(completion))


class PromptValuer(_Scripted[tuple[Message, ...], float]):
    """Values with the queued ``values`` in order, then by ``rule``, which finds every prompt worth a half."""

    def __init__(
        self,
        values: Iterable[float | AnnotationFailed] = (),
        *,
        rule: Callable[[tuple[Message, ...]], float | AnnotationFailed] = lambda _: _HALF,
    ) -> None:
        super().__init__(values, rule)
        self.card: Mapping[str, Any] = {}

    async def value(self, prompt: tuple[Message, ...], *, window: Window, deadline: Deadline) -> PromptValue:
        """Give the next value."""
        return PromptValue(self._answer(prompt, deadline), Intake(Usage(1, len(prompt))))


def _intake(completion: Completion) -> Intake:
    return Intake(Usage(1, len(completion)))
