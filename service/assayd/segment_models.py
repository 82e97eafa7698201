"""What stands behind ``/score/segment``: models, the default way to cut, and the normalizer that goes with them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from . import __version__
from .annotators.credits import (
    AttentionShares,
    CreditSource,
    ImplicitReward,
    PrefixDifferences,
    SegmentModelCredit,
)
from .annotators.cutting import Cut, approximation
from .annotators.fitted import Fitted, parse_cut, parse_fitted
from .annotators.normalizers import NORMALIZERS
from .annotators.options import Mode
from .annotators.scales import NO_NORMALIZER, scale_for
from .annotators.segment_options import BETA, Method, SegmentOptions, settle, settle_cut
from .annotators.segment_scorer import SegmentScorer
from .domain.failure import FailureKind, Rejected
from .domain.ports import Engine, WeighsTokens
from .domain.provenance import ModelRef, Recipe
from .engines import POCKET_NORMALIZER
from .hosting import Hosting
from .settings import EngineName, EngineSettings, SegmentSettings, Settings


@dataclass(frozen=True, slots=True)
class SegmentModels:
    """Everything that makes a segment scorer, loaded.

    ``normalizer`` is what holds where a call names none: a name, or the fit of these very models. ``tokenizer`` is
    the segment model's (name and revision), for texts without tokens; None where the service's own does.
    """

    scorer: Any  # ScoresSegments and Attends
    weigher: WeighsTokens | None
    implicit: tuple[WeighsTokens, WeighsTokens] | None
    cut: Cut
    normalizer: str | Fitted | None
    tokenizer: tuple[str, str | None] | None

    def annotator(
        self, method: Method, mode: Mode, options: SegmentOptions, tokenizer: ModelRef | None
    ) -> SegmentScorer:
        """The scorer of one call. Raises ``Rejected`` for options that do not go together or with the models."""
        how = settle_cut(options, method, self.cut)
        # Only the segment model has a scale of its own to undo.
        unnamed = self.normalizer if method is Method.SEGMENT else NO_NORMALIZER
        scale = scale_for(unnamed if options.normalizer is None else options.normalizer, how)
        settled = settle(options, method, mode, cut=how, scale=scale)
        source, model, others = self._source(method, options)
        told = asdict(settled)
        if how.needs_entropies and self.weigher is not None:
            others["entropy"] = self.weigher.model
            told |= approximation(self.weigher)
        recipe = Recipe(
            method=method.value,
            mode=mode.value,
            model=model,
            options=told,
            service_version=__version__,
            tokenizer=tokenizer,
            other_models=others,
        )
        return SegmentScorer(source, self.weigher, settled, recipe)

    @property
    def engines(self) -> Mapping[str, Engine]:
        """The hosted models by what they are for."""
        named = {"segment": self.scorer, "entropy": self.weigher}
        named |= dict(zip(("implicit", "reference"), self.implicit or (), strict=False))
        return {use: engine for use, engine in named.items() if engine is not None}

    def info(self) -> Mapping[str, Any]:
        """The models, as plain JSON values."""
        described: dict[str, Any] = {use: engine.model.identity() for use, engine in self.engines.items()}
        described["segment"] |= {"card": self.scorer.card, "cut": asdict(self.cut)}
        fits = self.normalizer.fits if isinstance(self.normalizer, Fitted) else None
        described["segment"]["normalizer"] = self.normalizer if fits is None else list(map(str, fits))
        return described

    def _source(
        self, method: Method, options: SegmentOptions
    ) -> tuple[CreditSource, ModelRef, dict[str, ModelRef]]:
        scored: dict[Method, Any] = {
            Method.SEGMENT: SegmentModelCredit,
            Method.PREFIX_DIFF: PrefixDifferences,
            Method.ATTENTION: AttentionShares,
        }
        if method in scored:
            return scored[method](self.scorer), self.scorer.model, {}
        if self.implicit is None:
            raise Rejected(
                FailureKind.INVALID,
                "implicit_prm needs two language models: set ASSAY_IMPLICIT__MODEL and ASSAY_IMPLICIT__REFERENCE_MODEL",
                pointer="/method",
            )
        model, reference = self.implicit
        source = ImplicitReward(model, reference, options.beta or BETA)
        return source, model.model, {"reference": reference.model}


async def open_segment_models(settings: Settings, hosting: Hosting) -> SegmentModels:
    """The models that the settings ask for. Raises ``ValueError`` with what to do."""
    segment = settings.segment
    scorer = await hosting.open(segment, "SegmentScorer")
    weigher = await hosting.open(asked, "TokenWeigher") if (asked := _entropy_settings(segment)) else None
    implicit = [await hosting.open(model, "TokenWeigher") for model in _implicit_settings(settings)]
    return SegmentModels(
        scorer=scorer,
        weigher=weigher,
        implicit=(implicit[0], implicit[1]) if implicit else None,
        cut=_default_cut(segment, scorer.card or {}),
        normalizer=_normalizer(segment, scorer.model),
        tokenizer=_tokenizer(segment),
    )


def _entropy_settings(segment: SegmentSettings) -> EngineSettings | None:
    own = segment.engine in (EngineName.POCKET, EngineName.FAKE)
    if segment.entropy_model is None and not own:
        return None
    named = {"model": segment.entropy_model, "revision": segment.entropy_revision}
    # vLLM gives the entropies of a large vocabulary only nearly: whoever wants that says so.
    exact = EngineName.TRANSFORMERS if segment.engine is EngineName.VLLM else segment.engine
    return segment.model_copy(update={"engine": segment.entropy_engine or exact, **named})


def _implicit_settings(settings: Settings) -> tuple[EngineSettings, ...]:
    implicit = settings.implicit
    named = (implicit.model, implicit.reference_model)
    if named == (None, None):
        return ()
    if None in named:
        raise ValueError("the implicit reward needs both implicit.model and implicit.reference_model")
    reference = {"model": implicit.reference_model, "revision": implicit.reference_revision}
    return implicit, implicit.model_copy(update=reference)


def _default_cut(segment: SegmentSettings, card: Mapping[str, Any]) -> Cut:
    """The way to cut that the model was trained with, as far as its card says, at the cutoff of the settings."""
    trained = parse_cut(card.get("cut", {}))
    return trained if segment.cutoff is None else replace(trained, c_ent=segment.cutoff)


def _tokenizer(segment: SegmentSettings) -> tuple[str, str | None] | None:
    if segment.model is None:
        return None
    # A folder's pin is the digest of the model, which says nothing of its tokenizer.
    return segment.model, None if Path(segment.model).is_dir() else segment.revision


def _normalizer(segment: SegmentSettings, model: ModelRef) -> str | Fitted | None:
    named = segment.normalizer
    if named is None and segment.engine is EngineName.POCKET:
        named = str(POCKET_NORMALIZER)
    if named is None or named == NO_NORMALIZER or named in NORMALIZERS:
        return named
    if not Path(named).is_file():
        known = ", ".join((NO_NORMALIZER, *NORMALIZERS))
        raise ValueError(f"segment.normalizer {named!r} is neither a file nor one of {known}")
    fitted = parse_fitted(Path(named).read_text(encoding="utf-8"))
    fitted.refuse_other(model)
    return fitted
