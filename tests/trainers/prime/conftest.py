"""Run where verifiers is installed (``make test-prime``); those of prime-rl where its source can be imported too."""

from importlib.util import find_spec

import pytest

from assay.testing import FakeServer

if not find_spec("verifiers"):
    collect_ignore_glob = ["test_*.py"]
elif not find_spec("prime_rl"):
    collect_ignore_glob = ["test_algorithm.py"]


@pytest.fixture
def service() -> FakeServer:  # type: ignore[misc]
    """A service that answers by the test's rules."""
    with FakeServer() as server:
        yield server
