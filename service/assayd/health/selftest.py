"""How much the answers of a hosted model depend on who else is asking: the same questions alone, and in company."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ..domain.ports import Deadline, Engine
from .questions import Answer, Question, answers, question

_WORDS: Final = (
    "the cat sat on a mat and then it ran away from 2 small dogs who had eaten 12 apples : 7 * 8 = 56".split()
)
_LONGEST: Final = 120
"""Words of a completion; most are much shorter."""
_TIMEOUT_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Compared:
    """Over all questions: the largest difference of two numbers, and how many texts differed."""

    largest: float = 0.0
    texts: int = 0

    def __or__(self, other: "Compared") -> "Compared":
        return Compared(max(self.largest, other.largest), self.texts + other.texts)

    @property
    def same(self) -> bool:
        """Whether company changed not a single bit."""
        return self == Compared()


def questions(count: int, seed: int) -> list[Question]:
    """Distinct questions of mixed lengths."""
    dice = random.Random(seed)  # noqa: S311 - variety, not secrecy
    lengths = [min(_LONGEST, 1 + int(dice.lognormvariate(2.5, 1.0))) for _ in range(count)]
    return [
        question(f"Question {number}?", " ".join(dice.choices(_WORDS, k=length)))
        for number, length in enumerate(lengths)
    ]


async def compared(engine: Engine, asked: Sequence[Question], seed: int) -> Mapping[str, Compared]:
    """What company changes, by what the engine can do. Raises ``AnnotationFailed``."""
    deadline = Deadline.after(_TIMEOUT_S)
    alone = [await answers(engine, one, deadline) for one in asked]
    order = list(range(len(asked)))
    random.Random(seed).shuffle(order)  # noqa: S311 - variety, not secrecy
    crowd = await asyncio.gather(*(answers(engine, asked[index], deadline) for index in order))
    together = dict(zip(order, crowd, strict=True))
    told: dict[str, Compared] = {}
    for index, by_itself in enumerate(alone):
        for verb, answer in by_itself.items():
            told[verb] = told.get(verb, Compared()) | _differences(answer, together[index][verb])
    return told


def _differences(one: Answer, other: Answer) -> Compared:
    moved = [abs(left - right) for left, right in zip(one.numbers, other.numbers, strict=True)]
    return Compared(max(moved, default=0.0), int(one.text != other.text))
