"""These run where slime is installed: ``make test-slime``. SGLang and Megatron are stubbed, slime is not."""

import sys
from collections.abc import Iterator
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, ClassVar
from unittest.mock import MagicMock

import pytest

from assay.testing import FakeServer

GPU_ONLY = ("sglang", "sglang_router", "megatron", "mbridge", "transformer_engine")
TRACKERS = ("wandb", "swanlab")


def _installed() -> bool:
    try:
        return find_spec("slime.rollout.rm_hub") is not None
    except ModuleNotFoundError:
        return False


collect_ignore_glob = [] if _installed() else ["test_*.py"]


class _Stub(ModuleType):
    """A package that has whatever is asked of it."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=name)


class _Stubs(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """A stub for what wants a GPU, or an account."""
        return (
            ModuleSpec(fullname, self, is_package=True)
            if fullname.split(".")[0] in (*GPU_ONLY, *TRACKERS)
            else None
        )

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The stub."""
        return _Stub(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to do."""


if _installed():
    sys.meta_path.insert(0, _Stubs())


@pytest.fixture
def service() -> Iterator[FakeServer]:
    """A service whose rewards the tests write down."""
    with FakeServer() as server:
        yield server
