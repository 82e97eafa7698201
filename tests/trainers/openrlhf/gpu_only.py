"""Stubs for what OpenRLHF imports and only a GPU can install: it is imported itself for real."""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, ClassVar
from unittest.mock import MagicMock

GPU_ONLY = ("vllm", "deepspeed", "flash_attn", "bitsandbytes", "optimum")


class _Stub(ModuleType):
    """A package that has whatever is asked of it."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = MagicMock(name=name)
        setattr(self, name, value)
        return value


class _Stubs(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """A stub for what wants a GPU."""
        return ModuleSpec(fullname, self, is_package=True) if fullname.split(".")[0] in GPU_ONLY else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The stub."""
        return _Stub(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to do."""


def stub() -> None:
    """Let the stubs be found, once all that looks for the real ones has not found them."""
    import transformers.utils.import_utils  # noqa: F401

    sys.meta_path.append(_Stubs())


def install() -> None:
    """What Ray calls in each process: the example's own, beside stubs."""
    stub()
    import openrlhf_reward

    openrlhf_reward.install()
