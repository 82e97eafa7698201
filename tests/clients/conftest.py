"""A service of the client's own for tests: real sockets, no models."""

from collections.abc import Iterator

import pytest

from assay.testing import FakeServer


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ASSAY_URL", "ASSAY_API_KEY", "ASSAY_TIMEOUT_S"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A fake service on a free port; each token earns 0.25."""
    with FakeServer(reward=0.25) as server:
        yield server
