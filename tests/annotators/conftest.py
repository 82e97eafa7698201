"""A critic that says what the test wrote down, and rollouts made of tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest

from assayd.annotators.options import CriticOptions, Mode
from assayd.annotators.prompting import Prompt, parse_prompt
from assayd.annotators.span_critic import SpanCritic
from assayd.domain.annotation import TokenAnnotation
from assayd.domain.failure import AnnotationFailed
from assayd.domain.ports import Deadline, FinishReason, Generation, Sampling
from assayd.domain.provenance import ModelRef, Usage
from assayd.domain.rollout import Completion, Message, Role, Rollout
from assayd.domain.text import Alignment, Span

PROMPTS = Path(__file__).parents[2] / "prompts"
Said = str | Generation | AnnotationFailed


@dataclass
class ScriptedCritic:
    """Answers the k-th question with the k-th line of its script, the last one for ever; usage counts words."""

    script: Sequence[Said]
    model: ModelRef = field(default_factory=lambda: ModelRef("scripted", "1"))
    asked: list[tuple[tuple[Message, ...], Sampling]] = field(default_factory=list)

    async def generate(
        self, messages: tuple[Message, ...], sampling: Sampling, *, deadline: Deadline
    ) -> Generation:
        """Say the next line."""
        said = self.script[min(len(self.asked), len(self.script) - 1)]
        self.asked.append((messages, sampling))
        if isinstance(said, AnnotationFailed):
            raise said
        if isinstance(said, Generation):
            return said
        words = sum(len(message.content.split()) for message in messages)
        return Generation(said, FinishReason.STOP, Usage(1, words, len(said.split())))

    async def ready(self) -> bool:
        """Always."""
        return True

    async def close(self) -> None:
        """Nothing to let go of."""

    @property
    def question(self) -> str:
        """What it was last asked."""
        return self.asked[-1][0][0].content


@dataclass(frozen=True)
class Trial:
    """One judged rollout, and the critic that was asked about it."""

    annotation: TokenAnnotation
    usage: Usage
    engine: ScriptedCritic


def aligned(tokens: Sequence[str]) -> Alignment:
    """Tokens that stand for their own text, one behind the other."""
    edges = list(accumulate(map(len, tokens), initial=0))
    return Alignment("".join(tokens), None, tuple(Span(start, end) for start, end in pairwise(edges)))


def rollout_of(tokens: Sequence[str] | Alignment, *, prompt: str = "", **more: Any) -> Rollout:
    """A rollout of these tokens; ``special``, ``mask`` go to the completion, the rest to the rollout."""
    alignment = tokens if isinstance(tokens, Alignment) else aligned(tokens)
    parts = {name: more.pop(name) for name in ("special", "mask", "truncated") if name in more}
    messages = (Message(Role.USER, prompt),) if prompt else ()
    return Rollout("r", messages, Completion(alignment, **parts), **more)


def prompt_named(task: str, room: str = "critic") -> Prompt:
    """A prompt file of the repository."""
    return parse_prompt(task, (PROMPTS / room / f"{task}.md").read_bytes())


def critic_of(
    task: str, engine: ScriptedCritic, mode: Mode | str = Mode.STRICT, **options: Any
) -> SpanCritic:
    """The span critic of a task, with its own prompt file."""
    return SpanCritic(
        engine,
        prompt_named(task),
        CriticOptions(**options),
        task=task,
        mode=Mode(mode),
        service_version="test",
        tokenizer=None,
    )


@pytest.fixture(scope="session", name="aligned")
def _aligned() -> Callable[[Sequence[str]], Alignment]:
    return aligned


@pytest.fixture(scope="session", name="rollout_of")
def _rollout_of() -> Callable[..., Rollout]:
    return rollout_of


@pytest.fixture(scope="session", name="prompt_named")
def _prompt_named() -> Callable[..., Prompt]:
    return prompt_named


@pytest.fixture(scope="session", name="scripted")
def _scripted() -> type[ScriptedCritic]:
    return ScriptedCritic


@pytest.fixture(scope="session", name="critic_of")
def _critic_of() -> Callable[..., SpanCritic]:
    return critic_of


@pytest.fixture
def judge() -> Callable[..., Any]:
    """The means to judge tokens, or a rollout, by what the critic says."""

    async def _judge(
        task: str,
        tokens: Sequence[str] | Alignment | Rollout,
        *script: Said,
        mode: str = "strict",
        prompt: str = "",
        extrinsic: float | None = None,
        special: frozenset[int] = frozenset(),
        mask: tuple[bool, ...] | None = None,
        **options: Any,
    ) -> Trial:
        engine = ScriptedCritic(script)
        critic = critic_of(task, engine, mode, **options)
        rollout = (
            tokens
            if isinstance(tokens, Rollout)
            else rollout_of(tokens, prompt=prompt, extrinsic=extrinsic, special=special, mask=mask)
        )
        annotation, usage = await critic.annotate(rollout, deadline=Deadline.after(5))
        return Trial(annotation, usage, engine)

    return _judge
