"""Opens hosted models by name: the module of an engine is imported only when it is chosen."""

import importlib
from typing import Any, Final

from .engines import ENGINES
from .settings import EngineSettings

_VERBS: Final = {"Generator": "write text", "SegmentScorer": "score segments", "TokenWeigher": "weigh tokens"}


async def open_engine(settings: EngineSettings, role: str) -> Any:
    """The engine that ``settings`` name, in a role: ``Generator``, ``SegmentScorer`` or ``TokenWeigher``.

    Raises ``ValueError`` with what to do when the engine has no such role or its model cannot be loaded.
    """
    host = getattr(importlib.import_module(ENGINES[settings.engine]), role, None)
    if host is None:
        raise ValueError(f"the {settings.engine} engine cannot {_VERBS[role]}: set `engine` to transformers")
    return await host.open(settings)
