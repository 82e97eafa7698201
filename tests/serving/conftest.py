"""A service as a process of its own whose critic takes as long as the test says, and calls to it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import httpx
import pytest


@pytest.fixture
def served(
    serve_app: Callable[[object], AbstractContextManager[str]],
    start_served: Callable[[dict[str, str]], AbstractContextManager[Any]],
    critic: Any,
) -> Iterator[Callable[..., Any]]:
    """Starts a service with settings (``server__drain_s=1``); gives it and the critic behind it."""
    with ExitStack() as stack:

        def start(**settings: object) -> tuple[Any, Any]:
            own = type(critic)()
            url = stack.enter_context(serve_app(own))
            engine = {
                "critic__engine": "openai",
                "critic__model": "scripted",
                "critic__base_url": f"{url}/v1",
            }
            said = {f"ASSAY_{name.upper()}": str(value) for name, value in {**engine, **settings}.items()}
            return stack.enter_context(start_served(said)), own

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
