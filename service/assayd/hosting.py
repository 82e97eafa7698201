"""Opens hosted models by name: the module of an engine is imported only when it is chosen."""

import importlib
from types import ModuleType
from typing import Any, Final

from .engines import ENGINES
from .settings import EngineSettings

_VERBS: Final = {
    "Generator": "write text",
    "PairScorer": "score pairs of texts",
    "PromptValuer": "value prompts",
    "SegmentScorer": "score completions",
    "TokenWeigher": "weigh tokens",
}


async def open_engine(settings: EngineSettings, role: str) -> Any:
    """The engine that ``settings`` name, in a role, one of ``_VERBS``.

    Raises ``ValueError`` with what to do when the engine has no such role or its model cannot be loaded.
    """
    if not plays(settings, role):
        raise ValueError(f"the {settings.engine} engine cannot {_VERBS[role]}: set `engine` to transformers")
    return await getattr(_module(settings), role).open(settings)


def plays(settings: EngineSettings, role: str) -> bool:
    """Whether the engine that ``settings`` name has this role at all."""
    return hasattr(_module(settings), role)


def _module(settings: EngineSettings) -> ModuleType:
    return importlib.import_module(ENGINES[settings.engine])
