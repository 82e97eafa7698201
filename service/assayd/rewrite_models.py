"""What stands behind ``/rewrite`` and method ``grm``: the rewriter, its prompts, and what checks final answers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from . import __version__
from .annotators.options import Mode
from .annotators.probing import ProbeOptions, TokenProber
from .annotators.prompting import Prompt
from .annotators.rewriting import Method, RewriteOptions, RewritePrompts, Rewriter
from .annotators.span_critic import SpanCritic
from .checkers import CHECKERS, open_checker
from .domain.failure import FailureKind, Rejected
from .domain.ports import Engine, Generates, WeighsTokens
from .domain.rewriting import Checks, Tokenizes
from .hosting import open_engine, plays
from .prompt_files import load_prompts
from .settings import EngineName, RewriterSettings

HOOK = "hook"


@dataclass(frozen=True, slots=True)
class RewriteModels:
    """Everything that makes rewriters and probers, loaded. ``weigher`` is None where the engine cannot weigh."""

    generator: Generates
    weigher: WeighsTokens | None
    reference: WeighsTokens | None
    prompts: Mapping[str, Prompt]
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
        by_critic = method is Method.CRITIQUE
        if by_critic and "critique" not in self.prompts:
            raise Rejected(
                FailureKind.INVALID,
                "the embedded rewriter works from a reference only: for method `critique` name a real model with "
                "ASSAY_REWRITER__ENGINE and ASSAY_REWRITER__MODEL",
                pointer="/method",
            )
        locate, fix = (None, "critique") if by_critic else (self.prompts["locate"], "fix")
        checker = None if options.verify is None else self._checker(options.verify.mode)
        return Rewriter(
            self.generator,
            RewritePrompts(locate, self.prompts[fix]),
            options,
            method=method,
            mode=mode,
            service_version=__version__,
            tokenizer=tokenizer,
            checker=checker,
            critic=critic,
            row_prompts=self._row_prompts(),
            prober=self._row_prober(mode, tokenizer, checker),
        )

    def prober(self, mode: Mode, options: ProbeOptions, tokenizer: Tokenizes) -> TokenProber:
        """The prober of one call. Raises ``Rejected`` where the service has no model that weighs tokens."""
        if self.weigher is None:
            raise Rejected(
                FailureKind.INVALID,
                "method `grm` needs a rewriter that weighs tokens: set ASSAY_REWRITER__ENGINE to transformers",
                pointer="/method",
            )
        return TokenProber(
            self.weigher,
            self._fix_shape(),
            options,
            mode=mode,
            service_version=__version__,
            tokenizer=tokenizer,
            checker=self.checkers["math"],
            reference=self.reference,
        )

    @property
    def engines(self) -> Mapping[str, Engine]:
        """The hosted models by what they are for."""
        named = {"rewriter": self.generator, "grm": self.weigher, "rewriter_reference": self.reference}
        return {use: engine for use, engine in named.items() if engine is not None}

    def info(self) -> Mapping[str, Any]:
        """The models, as plain JSON values."""
        return {use: asdict(engine.model) for use, engine in self.engines.items()}

    def _checker(self, mode: str) -> Checks:
        if mode not in self.checkers:
            raise Rejected(
                FailureKind.INVALID,
                "this service has no hook: set ASSAY_REWRITER__CHECK_HOOK to module:function",
                pointer="/options/verify/mode",
            )
        return self.checkers[mode]

    def _fix_shape(self) -> Prompt:
        """The prompt under which a token is likely that a rewriter would keep: the paper's, or the embedded one."""
        return self.prompts.get("grm-fix", self.prompts["fix"])

    def _row_prompts(self) -> RewritePrompts:
        return RewritePrompts(self.prompts.get("grm-locate", self.prompts["locate"]), self._fix_shape())

    def _row_prober(self, mode: Mode, tokenizer: Tokenizes, checker: Checks | None) -> TokenProber | None:
        if self.weigher is None or self.reference is None:
            return None
        return TokenProber(
            self.weigher,
            self._fix_shape(),
            ProbeOptions(),
            mode=mode,
            service_version=__version__,
            tokenizer=tokenizer,
            checker=checker,
            reference=self.reference,
        )


@asynccontextmanager
async def open_rewrite_models(settings: RewriterSettings) -> AsyncIterator[RewriteModels]:
    """The models that the settings ask for, while the block runs. Raises ``ValueError`` with what to do."""
    async with AsyncExitStack() as stack:

        async def opened(of: RewriterSettings, role: str) -> Any:
            engine = await open_engine(of, role)
            stack.push_async_callback(engine.close)
            return engine

        weighs = plays(settings, "TokenWeigher")
        reference = None
        if settings.reference_model is not None:
            other = {"model": settings.reference_model, "revision": settings.reference_revision}
            reference = await opened(settings.model_copy(update=other), "TokenWeigher")
        checkers = {name: open_checker(name) for name in CHECKERS if name != HOOK}
        if settings.check_hook is not None:
            checkers[HOOK] = open_checker(HOOK, hook=settings.check_hook)
        for checker in checkers.values():
            stack.push_async_callback(checker.close)
        yield RewriteModels(
            generator=await opened(settings, "Generator"),
            weigher=await opened(settings, "TokenWeigher") if weighs else None,
            reference=reference,
            prompts=load_prompts("pocket/rewrite" if settings.engine is EngineName.POCKET else "rewrite"),
            checkers=checkers,
        )
