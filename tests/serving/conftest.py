"""A service as a process of its own whose critic takes as long as the test says, and calls to it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..processes import Process, assayd


@pytest.fixture
def served(
    serve_app: Callable[[object], AbstractContextManager[str]],
    tmp_path: Path,
    critic: Any,
) -> Iterator[Callable[..., Any]]:
    """Starts a service with settings (``server__drain_s=1``); gives it and the critic behind it."""
    with ExitStack() as stack:

        def start(**settings: object) -> tuple[Process, Any]:
            own = type(critic)()
            url = stack.enter_context(serve_app(own))
            engine = {
                "critic__engine": "openai",
                "critic__model": "scripted",
                "critic__base_url": f"{url}/v1",
            }
            service = stack.enter_context(assayd(tmp_path / "log", weightless=True, **engine, **settings))
            stack.callback(service.kill)
            return service, own

        yield start


@pytest.fixture
def body() -> Callable[..., dict[str, Any]]:
    """A call with one rollout a prompt."""
    item = {"completion": {"text": "you rat", "offsets": [[0, 3], [3, 7]]}}

    def make(*prompts: str) -> dict[str, Any]:
        return {"task": "relc-toxicity", "rollouts": [{**item, "prompt": prompt} for prompt in prompts]}

    return make


@pytest.fixture
def client() -> Iterator[Callable[[str], httpx.Client]]:
    """The means to call a service; each client has connections of its own."""
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(httpx.Client(base_url=url, timeout=30))
