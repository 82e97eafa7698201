"""Services with tenants, whose engines have no weights, and critics that answer when the test says so."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from assayd.admission.tenant_file import add_key, add_tenant
from assayd.app import create_app
from assayd.settings import EngineName, EngineSettings, Settings

FAKE = {"engine": EngineName.FAKE}
WEIGHTLESS = {"critic": FAKE, "rewriter": FAKE, "segment": {**FAKE, "normalizer": "none"}, "sequence": FAKE}


class Team:
    """Tenants in a file, and clients of services that read it."""

    def __init__(self, file: Path, serve: Callable[[object], Any], stack: ExitStack) -> None:
        self.file = file
        self._serve = serve
        self._stack = stack
        self.keys: dict[str, str] = {}

    def add(self, name: str, **terms: Any) -> str:
        """A tenant; gives its key."""
        self.keys[name] = add_tenant(self.file, name, terms)
        return self.keys[name]

    def rotate(self, name: str) -> str:
        """Another key of the tenant."""
        return add_key(self.file, name)

    def start(self, **settings: Any) -> str:
        """A service; gives its URL."""
        told = Settings(**{**WEIGHTLESS, "tenants": {"path": self.file}, **settings})
        return str(self._stack.enter_context(self._serve(create_app(told))))

    def client(self, url: str, key: str | None) -> httpx.Client:
        """A client of a service who shows this key."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return self._stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=60))

    def alone(self, settings: dict[str, Any] | None = None, **terms: Any) -> httpx.Client:
        """The client of a service that knows one tenant, atlas, on these terms."""
        key = self.add("atlas", **terms)
        return self.client(self.start(**settings or {}), key)


@pytest.fixture
def team(tmp_path: Path, serve_app: Callable[[object], Any]) -> Iterator[Team]:
    """Nobody yet."""
    with ExitStack() as stack:
        yield Team(tmp_path / "tenants.toml", serve_app, stack)


@pytest.fixture
def slow(serve_app: Callable[[object], Any], critic: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Settings of a critic who answers after its ``delay_s``, and that critic."""
    own = type(critic)()
    with serve_app(own) as url:
        yield (
            {"critic": EngineSettings(engine=EngineName.OPENAI, model="scripted", base_url=f"{url}/v1")},
            own,
        )
