"""The critic that travels inside the package: small weights, CPU, no network."""

from typing import Final, Self

from ..domain.provenance import ModelRef
from ..settings import EngineSettings
from . import POCKET_CRITIC
from .transformers import TransformersEngine

NAME: Final = "assay/pocket-critic"


class PocketEngine(TransformersEngine):
    """The embedded critic, in float32 on CPU."""

    @classmethod
    async def open(cls, settings: EngineSettings) -> Self:
        """Load the embedded weights. Raises ``ValueError`` when the settings name another model."""
        if settings.model is not None or settings.revision is not None:
            raise ValueError(
                "the pocket engine hosts the critic inside the package only: "
                "to host another model set `engine` to transformers"
            )
        own = settings.model_copy(update={"model": str(POCKET_CRITIC), "device": "cpu", "dtype": "float32"})
        engine = await super().open(own)
        engine.model = ModelRef(NAME, engine.model.revision)
        return engine
