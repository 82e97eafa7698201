"""Asks the critic a question that Yes or No answers (generative verifiers, 2408.15240; rubrics, 2507.17746)."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from ...domain.failure import AnnotationFailed, FailureKind
from ...domain.ports import Deadline, Generates, Sampling
from ...domain.provenance import Usage
from ...domain.rollout import Message, Role, Rollout
from ...domain.sequence import Chooses
from ..exhibit import prompt_text
from ..prompting import Prompt, defang, fence_for
from ..reading import Reply

YES: Final = "Yes"
NO: Final = "No"
PLACEHOLDERS: Final = frozenset("question prompt completion reference fence".split())
LEAST_SHARE: Final = 0.05
"""A critic that begins with neither word more surely than this was not about to answer."""
_VERDICT: Final = re.compile(r"^[\s*>#-]*Verdict\W+(yes|no)\W*$", re.IGNORECASE | re.MULTILINE)
_ANSWER: Final = re.compile(r"[\s*\"'`>]*(?:Answer\W+)?(yes|no)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answered:
    """How much for Yes, in [0, 1]; ``votes`` is how many replies were counted, 0 for a probability."""

    yes: float
    votes: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class ByProbability:
    """The probability of Yes against No as the first token of the reply."""

    engine: Chooses

    async def ask(self, messages: tuple[Message, ...], deadline: Deadline) -> Answered:
        """One forward pass; ``unparseable`` where the critic would say something else."""
        choice = await self.engine.choose(messages, (YES, NO), deadline=deadline)
        yes, no = choice.shares
        if not yes + no >= LEAST_SHARE:
            raise AnnotationFailed(
                FailureKind.UNPARSEABLE,
                f"the critic would begin with Yes or No with a probability of {yes + no:.3g} only: it does not answer "
                "the question. Count `votes`, or name another critic",
            )
        return Answered(yes / (yes + no), 0, choice.usage)


@dataclass(frozen=True, slots=True)
class ByVotes:
    """The share of Yes among some replies."""

    engine: Generates
    samplings: tuple[Sampling, ...]
    read: Callable[[str], bool | None]

    async def ask(self, messages: tuple[Message, ...], deadline: Deadline) -> Answered:
        """One reply a vote; ``unparseable`` where no more than half of them are an answer."""
        said = await all_or_none(
            self.engine.generate(messages, sampling, deadline=deadline) for sampling in self.samplings
        )
        votes = [vote for reply in said if (vote := self.read(reply.text)) is not None]
        if 2 * len(votes) <= len(said):
            raise AnnotationFailed(
                FailureKind.UNPARSEABLE,
                f"{len(said) - len(votes)} of {len(said)} replies are neither Yes nor No",
                critique=said[0].text,
            )
        return Answered(fmean(votes), len(votes), sum((reply.usage for reply in said), Usage()))


def question_about(rollout: Rollout, prompt: Prompt, question: str) -> tuple[Message, ...]:
    """One user message: the question, and the rollout as material, defanged and fenced."""
    texts = {
        "question": defang(question),
        "prompt": defang(prompt_text(rollout.prompt)),
        "completion": defang(rollout.completion.text),
        "reference": defang(rollout.reference or ""),
    }
    return (Message(Role.USER, prompt.render({**texts, "fence": fence_for(*texts.values())})),)


async def all_or_none(work: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """The outcomes of all of ``work``, in order; when one fails, the others are called off."""
    tasks = [asyncio.ensure_future(part) for part in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def read_word(text: str) -> bool | None:
    """Whether a reply begins with Yes; None where with neither word."""
    answer = _ANSWER.match(Reply(text).spoken)
    return None if answer is None else answer[1].lower() == YES.lower()


def read_verdict(text: str) -> bool | None:
    """Whether a reply's verdict is Yes; None without a verdict, and where it gives both."""
    verdicts = {answer.lower() for answer in _VERDICT.findall(Reply(text).spoken)}
    return verdicts == {YES.lower()} if len(verdicts) == 1 else None


GRAMMARS: Final[Mapping[str, Callable[[str], bool | None]]] = {"yes-no": read_word, "verdict": read_verdict}
"""How a reply is read, by the name that a prompt file gives in ``reply:``."""
