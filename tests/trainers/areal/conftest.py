"""AReaL's own workflow and actor, with a scripted engine for its GPU: ``make test-areal``."""

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from assay.testing import FakeServer

collect_ignore_glob = [] if find_spec("areal") else ["test_*.py"]


@pytest.fixture
def service() -> Iterator[FakeServer]:
    """A service that answers by the test's rules."""
    with FakeServer() as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def _pools_end() -> Iterator[None]:
    """AReaL's pools for reward functions outlive it otherwise, and hold the pipe."""
    yield
    if find_spec("areal"):
        from areal.api import AsyncRewardWrapper

        AsyncRewardWrapper._atexit_shutdown_all()
