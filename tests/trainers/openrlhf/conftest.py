"""Run where OpenRLHF is installed: ``make test-openrlhf``. vLLM, DeepSpeed and others are stubbed, OpenRLHF is not."""

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from assay.testing import FakeServer

collect_ignore_glob = [] if find_spec("openrlhf") else ["test_*.py"]

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "trainers"

if find_spec("openrlhf"):
    here = [str(EXAMPLES), str(Path(__file__).parent)]
    sys.path[:0] = here
    # Ray's processes see the same; they are not to wait for all others.
    os.environ |= {
        "PYTHONPATH": os.pathsep.join([*here, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "RAY_worker_niceness": "0",
    }
    import gpu_only

    gpu_only.stub()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """Where the executor looks for the service."""
    with FakeServer() as server:
        monkeypatch.setenv("ASSAY_URL", server.url)
        yield server
