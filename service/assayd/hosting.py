"""Opens hosted models by name: the module of an engine is imported only when it is chosen.

What two roads ask for alike is one model, opened once.
"""

import importlib
from contextlib import AsyncExitStack
from types import ModuleType, TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar

from .domain.ports import Adaptable, Engine
from .engines import ENGINES
from .settings import EngineName, EngineSettings

E = TypeVar("E", bound=Engine)

_VERBS: Final = {
    "Generator": "write text",
    "PairScorer": "score pairs of texts",
    "PromptValuer": "value prompts",
    "SegmentScorer": "score completions",
    "TokenWeigher": "weigh tokens",
}
_OWN: Final = frozenset({EngineName.POCKET, EngineName.FAKE})
"""Engines that choose the model by the section that asks."""
_PARTICULAR: Final = frozenset({"PairScorer", "PromptValuer"})
"""Roles that read more of the settings than what every engine reads."""
_Asked: TypeAlias = tuple[type[Any], str | None, list[Any]]


class Hosting:
    """The hosted models of one service, by what they are; closed in reverse when the block ends."""

    def __init__(self) -> None:
        self._opened: list[tuple[_Asked, Any]] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def open(self, settings: EngineSettings, role: str) -> Any:
        """The model that ``settings`` name, in a role, one of ``_VERBS``.

        Raises ``ValueError`` with what to do when the engine has no such role or its model cannot be loaded.
        """
        module = _module_for(settings, role)
        if module is None:
            raise ValueError(
                f"the {settings.engine} engine cannot {_VERBS[role]}: set `engine` to transformers"
            )
        asked = _asked(getattr(module, role), settings, role)
        for known, engine in self._opened:
            if known == asked:
                return engine
        engine = await asked[0].open(settings)
        self._stack.push_async_callback(engine.close)
        self._opened.append((asked, engine))
        return engine


def adapted(engine: E, task: str) -> E:
    """The model with its adapter for a task; the model itself where it has none."""
    return engine.adapted(task) if isinstance(engine, Adaptable) else engine


def plays(settings: EngineSettings, role: str) -> bool:
    """Whether the engine that ``settings`` name has this role at all."""
    return hasattr(_module(settings.engine), role)


def _module_for(settings: EngineSettings, role: str) -> ModuleType | None:
    # What vLLM does not do, transformers does: the model says so wherever it is named.
    names = (settings.engine, EngineName.TRANSFORMERS)[: 2 if settings.engine is EngineName.VLLM else 1]
    return next((module for module in map(_module, names) if hasattr(module, role)), None)


def _asked(kind: type[Any], settings: EngineSettings, role: str) -> _Asked:
    """What tells one model from another; compared by value, for secrets hide theirs when they are written out."""
    read = type(settings).model_fields if role in _PARTICULAR else EngineSettings.model_fields
    section = settings.section if settings.engine in _OWN else None
    return kind, section, [getattr(settings, name) for name in read]


def _module(engine: EngineName) -> ModuleType:
    try:
        return importlib.import_module(ENGINES[engine])
    except ModuleNotFoundError as error:
        extra = "vllm" if engine is EngineName.VLLM else "service"
        raise ValueError(
            f"the engine {engine} needs {error.name}, which is not installed: pip install 'assay[{extra}]'"
        ) from error
