"""The models that travel inside the package: small weights, CPU, no network."""

from pathlib import Path
from typing import Final, Self

from ..domain.provenance import ModelRef
from ..settings import EngineSettings
from . import POCKET_CRITIC, POCKET_ENTROPY, POCKET_SEGMENT, transformers

CRITIC: Final = "assay/pocket-critic"
SEGMENT: Final = "assay/pocket-segment"
ENTROPY: Final = "assay/pocket-entropy"


class Generator(transformers.Generator):
    """The embedded critic, in float32 on CPU."""

    @classmethod
    async def open(cls, settings: EngineSettings) -> Self:
        """Load the embedded weights. Raises ``ValueError`` when the settings name another model."""
        engine = await super().open(_own(settings, POCKET_CRITIC))
        engine.model = ModelRef(CRITIC, engine.model.revision)
        return engine


class SegmentScorer(transformers.SegmentScorer):
    """The embedded segment reward model, in float32 on CPU."""

    @classmethod
    async def open(cls, settings: EngineSettings) -> Self:
        """Load the embedded weights. Raises ``ValueError`` when the settings name another model."""
        engine = await super().open(_own(settings, POCKET_SEGMENT))
        engine.model = ModelRef(SEGMENT, engine.model.revision)
        return engine


class TokenWeigher(transformers.TokenWeigher):
    """The embedded language model, in float32 on CPU."""

    @classmethod
    async def open(cls, settings: EngineSettings) -> Self:
        """Load the embedded weights. Raises ``ValueError`` when the settings name another model."""
        engine = await super().open(_own(settings, POCKET_ENTROPY))
        engine.model = ModelRef(ENTROPY, engine.model.revision)
        return engine


def _own(settings: EngineSettings, folder: Path) -> EngineSettings:
    if settings.model is not None or settings.revision is not None:
        raise ValueError(
            "the pocket engine hosts the models inside the package only: "
            "to host another model set `engine` to transformers"
        )
    return settings.model_copy(update={"model": str(folder), "device": "cpu", "dtype": "float32"})
