"""A rewriter that says what the test wrote down, and the tokenizer of the policy in its tests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from assayd.annotators.options import Mode
from assayd.annotators.prompting import Prompt, parse_prompt
from assayd.annotators.rewriting import Method, RewriteOptions, RewritePrompts, Rewriter
from assayd.checkers import open_checker
from assayd.domain.ports import Deadline
from assayd.domain.provenance import ModelRef, Usage
from assayd.domain.rewriting import RewriteAnnotation
from assayd.domain.rollout import Completion, Message, Role, Rollout
from assayd.domain.text import Alignment
from assayd.engines.alignment import PolicyTokenizer
from assayd.engines.fake import Generator

ROOT = Path(__file__).parents[3]
MODEL = ModelRef("assay/pocket-critic", "1")


@dataclass(frozen=True)
class PolicyTokens:
    """The embedded tokenizer, whose digits stand alone, as the tokenizer of the policy."""

    is_policy: bool = True
    model: ModelRef = MODEL
    end_id: int | None = 0
    own: PolicyTokenizer = field(
        default_factory=lambda: PolicyTokenizer(
            MODEL, Tokenizer.from_file(str(ROOT / "service/assayd/pocket/critic/tokenizer.json"))
        )
    )

    async def encode(self, text: str) -> Alignment:
        """The tokens of a text."""
        return self.cut(text)

    def cut(self, text: str) -> Alignment:
        """The same, at once."""
        return self.own.encode(text)[0]


@dataclass(frozen=True)
class Trial:
    """One corrected rollout, and the engine that was asked about it."""

    annotation: RewriteAnnotation
    usage: Usage
    engine: Generator
    rollout: Rollout


def prompt(name: str, room: str = "rewrite") -> Prompt:
    """A prompt file of the repository."""
    return parse_prompt(f"{room}/{name}", (ROOT / "prompts" / room / f"{name}.md").read_bytes())


TOKENS = PolicyTokens()
PROMPTS = RewritePrompts(prompt("locate"), prompt("fix"))
ROW_PROMPTS = RewritePrompts(prompt("grm-locate"), prompt("grm-fix"))


def rollout_of(prediction: str, *, question: str = "How many?", **more: Any) -> Rollout:
    """A rollout of this text in tokens of the policy, with the end marker where ``ended``."""
    alignment, special = TOKENS.cut(prediction), frozenset[int]()
    truncated = more.pop("truncated", False)
    if more.pop("ended", False):
        alignment, special = TOKENS.own.align((*(alignment.token_ids or ()), 0), prediction)
    completion = Completion(alignment, special, None, truncated)
    return Rollout("r", (Message(Role.USER, question),), completion, **more)


def rewriter_of(
    engine: Generator, *, mode: str = "strict", method: str = "rewrite", parts: Any = None, **options: Any
) -> Rewriter:
    """A rewriter with the shipped prompts, a checker of mathematics and these options."""
    prompts = PROMPTS if method == "rewrite" else RewritePrompts(None, prompt("critique"))
    given = {
        "checker": open_checker("math"),
        "tokenizer": TOKENS,
        "row_prompts": ROW_PROMPTS,
        **(parts or {}),
    }
    return Rewriter(
        engine,
        engine,
        prompts,
        RewriteOptions(**options),
        method=Method(method),
        mode=Mode(mode),
        service_version="test",
        **given,
    )


@pytest.fixture(scope="session")
def tokens() -> PolicyTokens:
    """The tokenizer of the policy."""
    return TOKENS


@pytest.fixture(scope="session", name="rollout_of")
def _rollout_of() -> Callable[..., Rollout]:
    return rollout_of


@pytest.fixture(scope="session", name="rewriter_of")
def _rewriter_of() -> Callable[..., Rewriter]:
    return rewriter_of


@pytest.fixture(scope="session", name="prompt")
def _prompt() -> Callable[..., Prompt]:
    return prompt


@pytest.fixture(scope="session")
def rewrite() -> Callable[..., Any]:
    """The means to correct a prediction by what the model says: the reply to locate, then the rewrites."""

    async def _rewrite(
        prediction: str | Rollout,
        replies: Sequence[Any],
        *,
        reference: str | None = "A: 72",
        about: dict[str, Any] | None = None,
        **how: Any,
    ) -> Trial:
        engine = Generator(replies, rule=lambda messages: pytest.fail(f"nothing to say to {messages}"))
        rollout = prediction
        if isinstance(rollout, str):
            rollout = rollout_of(rollout, reference=reference, **(about or {}))
        checker = open_checker("math")
        rewriter = rewriter_of(engine, **{**how, "parts": {"checker": checker, **how.get("parts", {})}})
        try:
            annotation, usage = await rewriter.annotate(rollout, deadline=Deadline.after(30))
        finally:
            await checker.close()
        return Trial(annotation, usage, engine, rollout)

    return _rewrite
