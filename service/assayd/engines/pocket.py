"""The models that travel inside the package: small weights, CPU, no network."""

from dataclasses import replace
from pathlib import Path
from typing import Final, Self, TypeVar

from ..domain.provenance import ModelRef
from ..settings import EngineSettings, ValueSettings
from . import POCKET_CRITIC, POCKET_ENTROPY, POCKET_REWRITER, POCKET_SEGMENT, POCKET_VALUE, transformers

S = TypeVar("S", bound=EngineSettings)

_WRITERS: Final = {"critic": POCKET_CRITIC, "rewriter": POCKET_REWRITER}
"""Folders by the section of the settings that asks for a model that writes."""
_WEIGHERS: Final = {"segment": POCKET_ENTROPY, "sequence": POCKET_ENTROPY, "rewriter": POCKET_REWRITER}


class Generator(transformers.Generator):
    """The embedded critic or rewriter, in float32 on CPU."""

    @classmethod
    async def open(cls, settings: EngineSettings) -> Self:
        """Load the embedded weights. Raises ``ValueError`` when the settings name another model."""
        folder = _WRITERS[settings.section]
        engine = await super().open(_own(settings, folder))
        engine.model = _named(engine.model, folder)
        return engine


class SegmentScorer(transformers.SegmentScorer):
    """The embedded segment reward model, in float32 on CPU."""

    @classmethod
    async def open(cls, settings: EngineSettings) -> Self:
        """Load the embedded weights. Raises ``ValueError`` when the settings name another model."""
        engine = await super().open(_own(settings, POCKET_SEGMENT))
        engine.model = _named(engine.model, POCKET_SEGMENT)
        return engine


class TokenWeigher(transformers.TokenWeigher):
    """The embedded entropy model or rewriter, in float32 on CPU."""

    @classmethod
    async def open(cls, settings: EngineSettings) -> Self:
        """Load the embedded weights. Raises ``ValueError`` when the settings name another model."""
        folder = _WEIGHERS[settings.section]
        engine = await super().open(_own(settings, folder))
        engine.model = _named(engine.model, folder)
        return engine


class PromptValuer(transformers.PromptValuer):
    """The embedded value head over the embedded language model, in float32 on CPU."""

    @classmethod
    async def open(cls, settings: ValueSettings) -> Self:
        """Load the embedded weights. Raises ``ValueError`` when the settings name another model."""
        own = _own(settings, POCKET_ENTROPY)
        engine = await super().open(own.model_copy(update={"head": str(POCKET_VALUE)}))
        engine.model = _named(engine.model, POCKET_VALUE)
        return engine


def _named(model: ModelRef, folder: Path) -> ModelRef:
    return replace(model, name=f"assay/pocket-{folder.name}")


def _own(settings: S, folder: Path) -> S:
    if settings.model is not None or settings.revision is not None:
        raise ValueError(
            "the pocket engine hosts the models inside the package only: "
            "to host another model set `engine` to transformers"
        )
    if not folder.is_dir():
        section = settings.section.upper()
        raise ValueError(
            f"this installation has no embedded {settings.section}: name a model with ASSAY_{section}__ENGINE and "
            f"ASSAY_{section}__MODEL"
        )
    return settings.model_copy(update={"model": str(folder), "device": "cpu", "dtype": "float32"})
