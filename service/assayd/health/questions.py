"""What a canary asks of a hosted model, by what the model can do: one small question for each of its verbs.

The answer tells three things apart: how the chat template writes the prompt (``rendered``), and what weights and
activation make of it (``numbers``, ``text``).
"""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..domain.failure import AnnotationFailed
from ..domain.ports import Deadline, Engine, Renders, Sampling, Window
from ..domain.provenance import Usage
from ..domain.rollout import Completion, Message, Role
from ..domain.text import Alignment, Segment, Span

_PROMPT: Final = "Ann has 3 red pens and buys 4 more. How many pens does she have?"
_TEXT: Final = "She has 3 + 4 = 7 pens.\nA: 7"
_WINDOW: Final = Window()
_WRITTEN_TOKENS: Final = 8
_WORDS: Final = ("Yes", "She", "A")


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt and a completion in tokens of its own, one a word: any model reads them as characters."""

    prompt: tuple[Message, ...]
    completion: Completion


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said. ``rendered`` is the digest of the ids it read, or how many they were; None: not told."""

    rendered: str | None = None
    numbers: tuple[float, ...] = ()
    text: str | None = None


def question(prompt: str, text: str) -> Question:
    """The question that asks for this completion of this prompt."""
    spans = tuple(Span(found.start(), found.end()) for found in re.finditer(r"\s*\S+", text))
    return Question((Message(Role.USER, prompt),), Completion(Alignment(text, None, spans)))


CANARY: Final = question(_PROMPT, _TEXT)


async def answers(engine: Engine, asked: Question, deadline: Deadline) -> Mapping[str, Answer]:
    """One answer for each thing that the engine can do, by its name. Raises ``AnnotationFailed``."""
    return {
        _named(verb, engine): await ask(engine, asked, deadline)
        for verb, ask in _VERBS.items()
        if hasattr(engine, verb)
    }


def _named(verb: str, engine: Any) -> str:
    """Of a classifier with several outputs, each label is a thing of its own."""
    label = getattr(engine, "label", None)
    return verb if label is None else f"{verb} {label}"


async def _generate(engine: Any, asked: Question, deadline: Deadline) -> Answer:
    said = await engine.generate(asked.prompt, Sampling(max_tokens=_WRITTEN_TOKENS), deadline=deadline)
    return Answer(_rendered(engine, asked, said.usage), text=said.text)


async def _choose(engine: Any, asked: Question, deadline: Deadline) -> Answer:
    try:
        chosen = await engine.choose(asked.prompt, _WORDS, deadline=deadline)
    except AnnotationFailed:
        # Some servers do not tell; `generate` has shown that they answer.
        return Answer()
    return Answer(numbers=chosen.shares)


async def _score(engine: Any, asked: Question, deadline: Deadline) -> Answer:
    tokens = len(asked.completion)
    halves = (Segment(0, tokens // 2), Segment(tokens // 2, tokens)) if tokens > 1 else (Segment(0, tokens),)
    said = await engine.score(
        asked.prompt, asked.completion, halves, window=_WINDOW, deadline=deadline, closing=True
    )
    return Answer(_rendered(engine, asked, said.intake.usage), said.values)


async def _weigh(engine: Any, asked: Question, deadline: Deadline) -> Answer:
    said = await engine.weigh(
        asked.prompt, asked.completion, window=_WINDOW, deadline=deadline, entropies=True
    )
    return Answer(_rendered(engine, asked, said.intake.usage), said.logprobs + said.entropies)


async def _value(engine: Any, asked: Question, deadline: Deadline) -> Answer:
    said = await engine.value(asked.prompt, window=_WINDOW, deadline=deadline)
    return Answer(_rendered(engine, asked, said.intake.usage), (said.value,))


async def _score_pair(engine: Any, asked: Question, deadline: Deadline) -> Answer:
    said = await engine.score_pair(asked.prompt, asked.completion.text, window=_WINDOW, deadline=deadline)
    return Answer(_rendered(engine, asked, said.intake.usage), (said.value,))


def _rendered(engine: Engine, asked: Question, usage: Usage) -> str:
    if not isinstance(engine, Renders):
        return f"{usage.prompt_tokens} tokens"
    ids = json.dumps(list(engine.rendered(asked.prompt)))
    return f"sha256:{hashlib.sha256(ids.encode()).hexdigest()}"


_VERBS: Final[Mapping[str, Callable[[Any, Question, Deadline], Awaitable[Answer]]]] = {
    "generate": _generate,
    "choose": _choose,
    "score": _score,
    "weigh": _weigh,
    "value": _value,
    "score_pair": _score_pair,
}
