"""What stands behind ``/rewrite`` and method ``grm``: the rewriter, its prompts, and what checks final answers."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

from . import __version__
from .annotators.options import Mode
from .annotators.probing import ProbeOptions, TokenProber
from .annotators.prompting import Prompt
from .annotators.rewriting import Method, RewriteOptions, RewritePrompts, Rewriter, Verify
from .annotators.span_critic import SpanCritic
from .checkers import CHECKERS, open_checker
from .domain.failure import FailureKind, Rejected
from .domain.ports import Engine, Generates, WeighsTokens
from .domain.rewriting import Checks, Tokenizes
from .engines import POCKET_REWRITER
from .hosting import Hosting, adapted, plays
from .prompt_files import load_prompts
from .settings import EngineName, RewriterSettings

HOOK: Final = "hook"
LOCATE: Final = "locate"
FIX: Final = "fix"
EMBEDDED: Final = {LOCATE: "pocket/rewrite/locate", FIX: "pocket/rewrite/fix"}
INSTRUCTED: Final = {LOCATE: "rewrite/locate", FIX: "rewrite/fix"}
PAPER: Final = {LOCATE: "rewrite/grm-locate", FIX: "rewrite/grm-fix"}


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of one rewriter.

    ``asked`` are those that it is asked by, ``weighed`` the one under which tokens are weighed, ``rows`` the paper's
    shapes, in which training rows are written. ``critique`` is None where the model knows no such task.
    """

    asked: RewritePrompts
    weighed: Prompt
    rows: RewritePrompts
    critique: Prompt | None


@dataclass(frozen=True, slots=True)
class RewriteModels:
    """Everything that makes rewriters and probers, loaded.

    ``weigher`` is None where the engine cannot weigh, ``card`` where nobody wrote down how the rewriter was made.
    """

    generator: Generates
    weigher: WeighsTokens | None
    reference: WeighsTokens | None
    prompts: Prompts
    card: Mapping[str, Any] | None
    checkers: Mapping[str, Checks]

    def rewriter(
        self,
        method: Method,
        mode: Mode,
        options: RewriteOptions,
        tokenizer: Tokenizes,
        critic: SpanCritic | None,
    ) -> Rewriter:
        """The rewriter of one call. Raises ``Rejected`` for options that do not go together or with the models."""
        checker = self._checker(options.verify)
        return Rewriter(
            adapted(self.generator, FIX),
            adapted(self.generator, LOCATE),
            self._asked(method),
            options,
            method=method,
            mode=mode,
            service_version=__version__,
            tokenizer=tokenizer,
            checker=checker,
            critic=critic,
            row_prompts=self.prompts.rows,
            prober=self._row_prober(mode, tokenizer, checker),
        )

    def prober(self, mode: Mode, options: ProbeOptions, tokenizer: Tokenizes) -> TokenProber:
        """The prober of one call. Raises ``Rejected`` where the service has no model that weighs tokens, or no hook."""
        if self.weigher is None:
            raise Rejected(
                FailureKind.INVALID,
                "method `grm` needs a rewriter that weighs tokens: set ASSAY_REWRITER__ENGINE to transformers",
                pointer="/method",
            )
        return TokenProber(
            adapted(self.weigher, FIX),
            self.prompts.weighed,
            options,
            mode=mode,
            service_version=__version__,
            tokenizer=tokenizer,
            checker=self._checker(options.verify),
            reference=self.reference,
        )

    @property
    def engines(self) -> Mapping[str, Engine]:
        """The hosted models by what they are for."""
        named = {"rewriter": self.generator, "grm": self.weigher, "rewriter_reference": self.reference}
        return {use: engine for use, engine in named.items() if engine is not None}

    def info(self) -> Mapping[str, Any]:
        """The models, as plain JSON values."""
        described: dict[str, Any] = {use: engine.model.identity() for use, engine in self.engines.items()}
        asked, weighed = self.prompts.asked, self.prompts.weighed
        named = {LOCATE: asked.locate, FIX: asked.fix, "weighed": weighed}
        refs = {use: asdict(prompt.ref) for use, prompt in named.items() if prompt is not None}
        described["rewriter"] |= {"card": self.card, "prompts": refs}
        return described

    def _checker(self, verify: Verify | None) -> Checks | None:
        if verify is None:
            return None
        if verify.mode not in self.checkers:
            raise Rejected(
                FailureKind.INVALID,
                "this service has no hook: set ASSAY_REWRITER__CHECK_HOOK to module:function",
                pointer="/options/verify/mode",
            )
        return self.checkers[verify.mode]

    def _asked(self, method: Method) -> RewritePrompts:
        if method is not Method.CRITIQUE:
            return self.prompts.asked
        if self.prompts.critique is None:
            raise Rejected(
                FailureKind.INVALID,
                "the embedded rewriter works from a reference only: for method `critique` name a real model with "
                "ASSAY_REWRITER__ENGINE and ASSAY_REWRITER__MODEL",
                pointer="/method",
            )
        return RewritePrompts(None, self.prompts.critique)

    def _row_prober(self, mode: Mode, tokenizer: Tokenizes, checker: Checks | None) -> TokenProber | None:
        if self.weigher is None or self.reference is None:
            return None
        return TokenProber(
            adapted(self.weigher, FIX),
            self.prompts.weighed,
            ProbeOptions(),
            mode=mode,
            service_version=__version__,
            tokenizer=tokenizer,
            checker=checker,
            reference=self.reference,
        )


@asynccontextmanager
async def open_rewrite_models(settings: RewriterSettings, hosting: Hosting) -> AsyncIterator[RewriteModels]:
    """The models that the settings ask for, and their checkers, which end with the block.

    Raises ``ValueError`` with what to do.
    """
    reference = None
    if settings.reference_model is not None:
        other = {"model": settings.reference_model, "revision": settings.reference_revision}
        reference = await hosting.open(settings.model_copy(update=other), "TokenWeigher")
    generator = await hosting.open(settings, "Generator")
    weigher = await hosting.open(settings, "TokenWeigher") if plays(settings, "TokenWeigher") else None
    async with AsyncExitStack() as stack:
        checkers = {name: open_checker(name) for name in CHECKERS if name != HOOK}
        if settings.check_hook is not None:
            checkers[HOOK] = open_checker(HOOK, hook=settings.check_hook)
        for checker in checkers.values():
            stack.push_async_callback(checker.close)
        yield RewriteModels(
            generator=generator,
            weigher=weigher,
            reference=reference,
            prompts=_prompts(settings, getattr(generator, "card", None) or {}),
            card=_card(settings, generator),
            checkers=checkers,
        )


def _card(settings: RewriterSettings, generator: Any) -> Mapping[str, Any] | None:
    if settings.engine is not EngineName.POCKET:
        return getattr(generator, "card", None)
    card: Mapping[str, Any] = json.loads((POCKET_REWRITER / "card.json").read_text(encoding="utf-8"))
    return card


def _prompts(settings: RewriterSettings, card: Mapping[str, Any]) -> Prompts:
    """A rewriter of `assayd train rewriter` is asked as it was trained; any other is told what to do."""
    embedded = settings.engine is EngineName.POCKET
    trained = card.get("prompts")
    names = EMBEDDED if embedded else INSTRUCTED
    asked = _named(names) if trained is None else _trained_with(trained)
    paper = _named(PAPER)
    return Prompts(
        asked=asked,
        weighed=asked.fix if embedded or trained is not None else paper.fix,
        rows=paper,
        critique=None if embedded else _prompt("rewrite/critique"),
    )


def _trained_with(prompts: Mapping[str, Mapping[str, str]]) -> RewritePrompts:
    for told in prompts.values():
        if (found := _prompt(told["name"])).sha256 != told["sha256"]:
            raise ValueError(
                f"the rewriter was trained on another version of the prompt {told['name']} ({told['sha256']}, this is "
                f"{found.sha256}): serve it with the Assay that made it, or train it again"
            )
    return _named({task: told["name"] for task, told in prompts.items()})


def _named(names: Mapping[str, str]) -> RewritePrompts:
    return RewritePrompts(_prompt(names[LOCATE]), _prompt(names[FIX]))


def _prompt(name: str) -> Prompt:
    room, _, stem = name.rpartition("/")
    found = load_prompts(room)
    if stem not in found:
        raise ValueError(f"the rewriter was trained on the prompt {name}, which this Assay does not have")
    return found[stem]
