"""Builds engines, then annotators, then the pipeline; closes them in reverse."""

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from . import __version__
from .admission import Admission
from .annotators import rewriting
from .annotators.options import CriticOptions, Mode
from .annotators.probing import ProbeOptions, TokenProber
from .annotators.prompting import Prompt
from .annotators.segment_options import Method, SegmentOptions
from .annotators.segment_scorer import SegmentScorer
from .annotators.sequence import SequenceOptions, SequenceScorer
from .annotators.span_critic import SpanCritic
from .domain.failure import Failure, FailureKind, Rejected
from .domain.ports import Engine, Generates, Queues, Tended
from .domain.provenance import ModelRef
from .domain.readiness import Readiness
from .domain.rollout import Completion
from .domain.storage import Store
from .domain.text import Alignment
from .doorkeeper import Doorkeeper
from .drift import Drift
from .engines import POCKET_CRITIC
from .engines.permitted import Permitted
from .engines.tokenizers import Aligner, RawCompletion
from .health.canaries import Canaries
from .health.quarantine import Quarantine
from .health.watch import Watch
from .hosting import Hosting, adapted
from .pipeline import Pipeline
from .prompt_files import load_prompts
from .rewrite_models import RewriteModels, open_rewrite_models
from .segment_models import SegmentModels, open_segment_models
from .sequence_models import SequenceModels, open_sequence_models
from .settings import CacheSettings, EngineName, Settings
from .stores import STORES
from .telemetry import Telemetry
from .tracing import traced

_CACHE: Final = "cache"


class Runtime:
    """A running service without HTTP: what the routes ask of it."""

    def __init__(
        self,
        *,
        settings: Settings,
        telemetry: Telemetry,
        critic: Generates,
        segments: SegmentModels,
        sequences: SequenceModels,
        rewriting_models: RewriteModels,
        store: Store,
        admission: Admission,
        aligner: Aligner,
        prompts: Mapping[str, Prompt],
        canaries: Canaries,
    ) -> None:
        self.settings = settings
        self.telemetry = telemetry
        self.admission = admission
        self.doorkeeper = Doorkeeper()
        quarantine = Quarantine(settings.health.quarantine_s, telemetry)
        self.pipeline = Pipeline(store, admission, quarantine, Drift(settings.drift, telemetry), telemetry)
        self._critic = critic
        self._segments = segments
        self._sequences = sequences
        self._rewriting = rewriting_models
        self._store = store
        self._aligner = aligner
        self._permitted = Permitted(settings.tokenizers)
        self._prompts = prompts
        self.watch = Watch(self.engines, canaries, interval_s=settings.health.interval_s, telemetry=telemetry)
        self._draining = False

    async def critic(
        self, task: str, mode: Mode, options: CriticOptions, tokenizer: ModelRef | None
    ) -> SpanCritic:
        """The span critic of one call; raises ``Rejected`` when the critic has no prompt for the task."""
        prompt = self._prompts.get(task)
        if prompt is None:
            raise Rejected(
                FailureKind.INVALID,
                f"the embedded critic knows only {', '.join(self._prompts)}: for {task} name a real model "
                "with ASSAY_CRITIC__ENGINE and ASSAY_CRITIC__MODEL",
                pointer="/task",
            )
        return SpanCritic(
            adapted(self._critic, task),
            prompt,
            options,
            task=task,
            mode=mode,
            service_version=__version__,
            tokenizer=tokenizer,
        )

    async def segment_scorer(
        self, method: Method, mode: Mode, options: SegmentOptions, tokenizer: ModelRef | None
    ) -> SegmentScorer:
        """The segment scorer of one call; raises ``Rejected`` for options that do not go together."""
        return self._segments.annotator(method, mode, options, tokenizer)

    async def sequence_scorer(
        self, mode: Mode, options: SequenceOptions, tokenizer: ModelRef | None
    ) -> SequenceScorer:
        """The sequence scorer of one call; raises ``Rejected`` for options that do not go together."""
        embedded = self.settings.critic.engine is EngineName.POCKET
        return self._sequences.annotator(mode, options, tokenizer, None if embedded else self._critic)

    async def prober(self, mode: Mode, options: ProbeOptions, tokenizer: ModelRef | None) -> TokenProber:
        """The prober of one call; raises ``Rejected`` where no model weighs tokens."""
        return self._rewriting.prober(mode, options, await self._aligner.text_tokenizer(tokenizer))

    async def rewriter(
        self,
        method: rewriting.Method,
        mode: Mode,
        options: rewriting.RewriteOptions,
        tokenizer: ModelRef | None,
        *,
        task: str,
        rubric: str | None,
    ) -> rewriting.Rewriter:
        """The rewriter of one call; raises ``Rejected`` for options that do not go together."""
        critic = None
        if method is rewriting.Method.CRITIQUE:
            critic = await self.critic(task, Mode.STRICT, CriticOptions(rubric=rubric), tokenizer)
        cut_by = await self._aligner.text_tokenizer(tokenizer)
        return self._rewriting.rewriter(method, mode, options, cut_by, critic)

    async def tokenizer(self, name: str, revision: str | None) -> ModelRef:
        """The policy tokenizer, loaded and pinned; raises ``Rejected`` when it cannot or may not be had."""
        self._permitted.check(name)
        return await self._aligner.pin(name, revision)

    @property
    def segment_tokenizer(self) -> tuple[str, str | None] | None:
        """The segment model's own tokenizer, for texts that come without tokens."""
        return self._segments.tokenizer

    @property
    def sequence_tokenizer(self) -> tuple[str, str | None] | None:
        """The first sequence reward model's own tokenizer, for texts that come without tokens."""
        return self._sequences.tokenizer

    async def align(
        self,
        completions: Sequence[RawCompletion],
        tokenizer: ModelRef | None,
        *,
        own: tuple[str, str | None] | None = None,
    ) -> list[Completion | Failure]:
        """Tokens and characters of each completion brought together, or the reason why not."""
        return await self._aligner.align_all(completions, tokenizer, own=own)

    async def read(self, sent: str | Sequence[int], tokenizer: ModelRef | None) -> Alignment:
        """The tokens of one running text, special tokens kept as text; raises ``Unaligned``."""
        return await self._aligner.read(sent, tokenizer)

    @property
    def engines(self) -> Mapping[str, Engine]:
        """The hosted models by what they are for; one model may have several uses."""
        hosted = {**self._segments.engines, **self._sequences.engines, **self._rewriting.engines}
        return {"critic": self._critic, **hosted}

    @property
    def sleepers(self) -> tuple[Tended, ...]:
        """The engines that may be sent to sleep, each once."""
        tended = {id(one): one for one in self.engines.values() if isinstance(one, Tended) and one.may_sleep}
        return tuple(tended.values())

    async def readiness(self) -> Readiness:
        """Each part by name, and whether it can answer now. Nothing needs the cache but time."""
        complaints, cached, doors = await asyncio.gather(
            self.watch.complaints(), self._store.ready(), self.admission.parts()
        )
        parts = {use: complaint is None for use, complaint in complaints.items()}
        return Readiness(
            {**parts, _CACHE: cached, **doors},
            dispensable=frozenset({_CACHE, *doors}),
            complaints={use: complaint for use, complaint in complaints.items() if complaint is not None},
            draining=self._draining,
        )

    def drain(self) -> None:
        """Say that no calls should come any more; those that come are answered as ever."""
        self._draining = True

    async def info(self) -> Mapping[str, Any]:
        """Models, prompts and limits, as plain JSON values."""
        engine = self.settings.critic.engine
        critic = {"engine": engine.value, **self._critic.model.identity()}
        if engine is EngineName.POCKET:
            critic["card"] = json.loads((POCKET_CRITIC / "card.json").read_text(encoding="utf-8"))
        return {
            "service_version": __version__,
            "models": {
                "critic": critic,
                **self._segments.info(),
                **self._sequences.info(),
                **self._rewriting.info(),
            },
            "methods": ["critic", "grm", *Method, "sequence", *rewriting.Method],
            "prompts": [
                {
                    "task": task,
                    "name": prompt.name,
                    "sha256": prompt.sha256,
                    "reply": prompt.reply,
                    "defaults": dict(prompt.defaults),
                }
                for task, prompt in self._prompts.items()
            ],
            "limits": {
                "max_rollouts": self.settings.server.max_rollouts,
                "max_body_mb": self.settings.server.max_body_mb,
            },
        }


@asynccontextmanager
async def open_runtime(settings: Settings, telemetry: Telemetry) -> AsyncIterator[Runtime]:
    """The service as the settings ask for it, while the block runs."""
    canaries = Canaries(settings.health.canaries)
    async with AsyncExitStack() as stack:
        stack.enter_context(traced(settings.tracing))
        store = await _open_store(settings.cache, telemetry)
        stack.push_async_callback(store.close)
        admission = await stack.enter_async_context(Admission.open(settings, telemetry))
        hosting = await stack.enter_async_context(Hosting())
        critic = await hosting.open(settings.critic, "Generator")
        segments = await open_segment_models(settings, hosting)
        sequences = await open_sequence_models(settings.sequence, hosting)
        rewriting_models = await stack.enter_async_context(open_rewrite_models(settings.rewriter, hosting))
        room = "pocket" if settings.critic.engine is EngineName.POCKET else "critic"
        runtime = Runtime(
            settings=settings,
            telemetry=telemetry,
            critic=critic,
            segments=segments,
            sequences=sequences,
            rewriting_models=rewriting_models,
            store=store,
            admission=admission,
            aligner=Aligner(POCKET_CRITIC),
            prompts=load_prompts(room),
            canaries=canaries,
        )
        for engine in runtime.engines.values():
            if isinstance(engine, Queues):
                engine.line.max_tokens = settings.server.max_queued_tokens
        telemetry.watch(runtime.engines)
        yield runtime


async def _open_store(settings: CacheSettings, telemetry: Telemetry) -> Store:
    scheme = urlsplit(settings.url).scheme
    if scheme not in STORES:
        # The rest of the URL may hold a password.
        raise ValueError(f"cache.url begins with {scheme!r} and must with one of: {', '.join(STORES)}")
    module, _, name = STORES[scheme].partition(":")
    try:
        opened = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"cache.url names {scheme}: pip install 'assay[redis]' ({error})") from error
    store: Store = await getattr(opened, name).open(settings, telemetry)
    return store
