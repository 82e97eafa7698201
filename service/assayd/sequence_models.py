"""What stands behind ``/score/sequence``: reward models by name, hooks, word statistics, prompts, and a value head."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from . import __version__
from .annotators.fitted import parse_cut
from .annotators.options import Mode
from .annotators.prompting import Prompt
from .annotators.sequence import HostedReward, SequenceOptions, SequenceScorer, Tools
from .annotators.sequence.diversity import DocumentFrequencies, parse_frequencies
from .annotators.sequence.options import Activation
from .checkers.scoring_hook import ScoringHook
from .domain.ports import Engine, WeighsTokens
from .domain.provenance import ModelRef
from .domain.sequence import ScoresByHook
from .engines import POCKET_SEGMENT_CENTER, POCKET_SEGMENT_SCALE, POCKET_VALUE
from .hosting import Hosting
from .prompt_files import load_prompts
from .settings import EngineName, EngineSettings, RewardSettings, SequenceSettings, ValueSettings

OWN: Final = "reward"
"""What the reward model of the section itself is called."""
_SEGMENTED: Final = "assay-segment-rm/1"


@dataclass(frozen=True, slots=True)
class SequenceModels:
    """Everything that makes a sequence scorer, loaded.

    ``valuer`` (``ValuesPrompts``) is None without a value head. ``tokenizer`` is the first reward model's (name and
    revision), for texts without tokens; None where the service's own does.
    """

    rewards: Mapping[str, HostedReward]
    hooks: Mapping[str, ScoresByHook]
    frequencies: DocumentFrequencies
    prompts: Mapping[str, Prompt]
    valuer: Any
    reference: WeighsTokens | None
    tokenizer: tuple[str, str | None] | None

    def annotator(
        self, mode: Mode, options: SequenceOptions, tokenizer: ModelRef | None, critic: Any
    ) -> SequenceScorer:
        """The scorer of one call; ``critic`` (``Generates``) answers questions, None where it cannot.

        Raises ``Rejected`` for options that do not go together or with the models.
        """
        return SequenceScorer(
            Tools(self.rewards, self.hooks, self.frequencies, self.prompts, critic),
            self.valuer,
            options,
            reference=self.reference,
            mode=mode,
            service_version=__version__,
            tokenizer=tokenizer,
            value_card=None if self.valuer is None else self.valuer.card,
        )

    @property
    def engines(self) -> Mapping[str, Engine]:
        """The hosted models by what they are for."""
        named: dict[str, Any] = {}
        for name, hosted in self.rewards.items():
            named[f"sequence {name}"] = hosted.engine
            named[f"sequence {name} entropy"] = hosted.weigher
        named |= {"value": self.valuer, "sequence reference": self.reference}
        return {use: engine for use, engine in named.items() if engine is not None}

    def info(self) -> Mapping[str, Any]:
        """The models, as plain JSON values."""
        described: dict[str, Any] = {use: engine.model.identity() for use, engine in self.engines.items()}
        for name, hosted in self.rewards.items():
            described[f"sequence {name}"] |= {
                "activation": hosted.activation.value,
                "cut": None if hosted.cut is None else asdict(hosted.cut),
            }
        if self.valuer is not None:
            described["value"]["card"] = dict(self.valuer.card)
        return described


async def open_sequence_models(settings: SequenceSettings, hosting: Hosting) -> SequenceModels:
    """The models that the settings ask for. Raises ``ValueError`` with what to do."""

    async def reward(of: RewardSettings) -> HostedReward:
        if of.read == "pair":
            scorer = await hosting.open(of, "PairScorer")
            center, scale = _standard(of)
            return HostedReward(
                scorer, Activation(of.activation), pair=True, label=of.label, center=center, scale=scale
            )
        hosted = _read(of, await _causal(hosting, of))
        if hosted.cut is None or not hosted.cut.needs_entropies:
            return hosted
        return replace(hosted, weigher=await hosting.open(_entropy_settings(of), "TokenWeigher"))

    asked, policy = _value_settings(settings), _reference_settings(settings)
    return SequenceModels(
        rewards={name: await reward(of) for name, of in _rewards(settings).items()},
        hooks={name: ScoringHook(target) for name, target in settings.hooks.items()},
        frequencies=_frequencies(settings.document_frequencies),
        prompts=load_prompts("sequence"),
        valuer=None if asked is None else await hosting.open(asked, "PromptValuer"),
        reference=await hosting.open(policy, "TokenWeigher") if policy is not None else None,
        tokenizer=_tokenizer(next(iter(_rewards(settings).values()))),
    )


def _rewards(settings: SequenceSettings) -> dict[str, RewardSettings]:
    """The reward models by name: the section's own, unless it names none and others do."""
    if OWN in settings.components:
        raise ValueError(
            f"sequence.components may not have one called {OWN}: that is the section's own model"
        )
    own = {} if settings.components and settings.model is None else {OWN: settings}
    return {**own, **settings.components}


async def _causal(hosting: Hosting, settings: RewardSettings) -> Any:
    try:
        return await hosting.open(settings, "SegmentScorer")
    except ValueError as error:
        raise ValueError(
            f"{error}\nA classifier that reads both ways or has several labels is hosted as a sequence reward with "
            "`read` set to pair"
        ) from error


def _read(settings: RewardSettings, engine: Any) -> HostedReward:
    """How a model is read: as its card says that it was trained, unless the settings say otherwise."""
    card = engine.card or {}
    segmented = card.get("format") == _SEGMENTED
    if settings.read == "segments" and not segmented:
        raise ValueError(
            f"{engine.model.name} is no segment model of `assayd train segment-rm`: read it at the `end`"
        )
    cut = parse_cut(card.get("cut", {})) if segmented and settings.read != "end" else None
    center, scale = _standard(settings)
    return HostedReward(engine, Activation(settings.activation), cut, center=center, scale=scale)


def _standard(settings: RewardSettings) -> tuple[float, float]:
    """Where a model's scores have their middle, and how far they go."""
    embedded = settings.engine is EngineName.POCKET and settings.read != "end"
    center, scale = (POCKET_SEGMENT_CENTER, POCKET_SEGMENT_SCALE) if embedded else (0.0, 1.0)
    return (
        center if settings.center is None else settings.center,
        scale if settings.scale is None else settings.scale,
    )


def _entropy_settings(settings: RewardSettings) -> EngineSettings:
    if settings.entropy_model is None and settings.engine is not EngineName.POCKET:
        raise ValueError(
            f"{settings.model} was trained on segments that are cut by entropy: name the language model that weighs "
            "them as its entropy_model, or read it at the `end`"
        )
    named = {"model": settings.entropy_model, "revision": settings.entropy_revision}
    exact = EngineName.TRANSFORMERS if settings.engine is EngineName.VLLM else settings.engine
    return settings.model_copy(update={"engine": exact, **named})


def _tokenizer(reward: RewardSettings) -> tuple[str, str | None] | None:
    if reward.model is None:
        return None
    # A folder's pin is the digest of the model, which says nothing of its tokenizer.
    return reward.model, None if Path(reward.model).is_dir() else reward.revision


def _value_settings(settings: SequenceSettings) -> ValueSettings | None:
    if settings.value_model is None and settings.engine is EngineName.FAKE:
        return ValueSettings(engine=EngineName.FAKE)
    if settings.value_model is None:
        embedded = settings.engine is EngineName.POCKET and POCKET_VALUE.is_dir()
        if not embedded:
            return None
        return ValueSettings(engine=EngineName.POCKET, determinism=settings.determinism)
    return ValueSettings(
        engine=EngineName.TRANSFORMERS,
        model=settings.value_base,
        revision=settings.value_base_revision,
        head=settings.value_model,
        dtype=settings.dtype,
        device=settings.device,
        max_model_len=settings.max_model_len,
        determinism=settings.determinism,
    )


def _reference_settings(settings: SequenceSettings) -> EngineSettings | None:
    if settings.reference_model is None:
        own = settings.engine in (EngineName.POCKET, EngineName.FAKE)
        return settings.model_copy(update={"model": None, "revision": None}) if own else None
    named = {"model": settings.reference_model, "revision": settings.reference_revision}
    return settings.model_copy(update={"engine": EngineName.TRANSFORMERS, **named})


def _frequencies(file: str | None) -> DocumentFrequencies:
    if file is None:
        return DocumentFrequencies(0, {})
    try:
        return parse_frequencies(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"sequence.document_frequencies {file!r}: {error}") from error
