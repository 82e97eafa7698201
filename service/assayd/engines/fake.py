"""An engine without weights, for the tests of those who build on Assay: scripted, or by a rule anyone can foresee."""

import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Self, TypeAlias

from ..domain.failure import AnnotationFailed, FailureKind
from ..domain.ports import Deadline, FinishReason, Generation, Sampling
from ..domain.provenance import ModelRef, Usage
from ..domain.rollout import Message
from ..settings import EngineSettings

MODEL: Final = ModelRef("assay/fake", "1")
_STEPS: Final = re.compile(r"^\[(\d+)\] ", re.MULTILINE)
_WORD: Final = re.compile(r"\s*\S+|\s+$")

Reply: TypeAlias = str | AnnotationFailed


def content_critic(messages: tuple[Message, ...]) -> Reply:
    """A critic that finds nothing, in the grammar that the last message asks for.

    Steps that are labelled ``[0] ``, ``[1] `` and so on are called correct one by one (the last such list: the
    ones before it are examples); who asks for ``"remarks"`` gets an empty list; who asks for a negative section
    gets two empty sections; everyone else ``None identified``.
    """
    asked = messages[-1].content if messages else ""
    if '"remarks"' in asked:
        return '{"remarks": []}'
    if "Identified Negative Text Span:" in asked:
        return "None identified\nIdentified Negative Text Span:\nNone identified"
    steps = _STEPS.findall(asked[asked.rfind("\n[0] ") + 1 :]) if "\n[0] " in asked else []
    return "\n".join(f'[{step}] "" | fake | correct' for step in steps) or "None identified"


class FakeEngine:
    """Answers with the queued ``replies`` in order, then by ``rule``; an ``AnnotationFailed`` is raised.

    A token is a word with the white space before it. ``history`` holds every call: messages and sampling.
    """

    def __init__(
        self, replies: Iterable[Reply] = (), *, rule: Callable[[tuple[Message, ...]], Reply] = content_critic
    ) -> None:
        self.model = MODEL
        self.history: list[tuple[tuple[Message, ...], Sampling]] = []
        self._queue = deque(replies)
        self._rule = rule

    @classmethod
    async def open(cls, settings: EngineSettings) -> Self:
        """Open without a script: ``content_critic`` answers. The settings change nothing."""
        return cls()

    def enqueue(self, *replies: Reply) -> None:
        """Answer the next calls with these."""
        self._queue.extend(replies)

    async def ready(self) -> bool:
        """Whether it can answer: always."""
        return True

    async def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    async def generate(
        self, messages: tuple[Message, ...], sampling: Sampling, *, deadline: Deadline
    ) -> Generation:
        """Give the next reply, cut at stop strings and ``max_tokens`` as a model would."""
        self.history.append((messages, sampling))
        if deadline.passed:
            raise AnnotationFailed(
                FailureKind.PAST_DEADLINE, "the deadline passed before the model was asked"
            )
        reply = self._queue.popleft() if self._queue else self._rule(messages)
        if isinstance(reply, AnnotationFailed):
            raise reply
        for stop in sampling.stop:
            reply = reply.partition(stop)[0]
        words = _WORD.findall(reply)
        written = words[: sampling.max_tokens]
        usage = Usage(1, sum(len(_WORD.findall(message.content)) for message in messages), len(written))
        finish = FinishReason.STOP if len(written) == len(words) else FinishReason.LENGTH
        return Generation("".join(written), finish, usage)
