"""How much the service takes in: bodies, rollouts a call, rollouts at once."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest

from assayd.app import create_app
from assayd.settings import EngineName, EngineSettings, ServerSettings, Settings

WEIGHTLESS = {"segment": {"engine": EngineName.FAKE}, "rewriter": {"engine": EngineName.FAKE}}
ITEM = {"completion": {"text": "you rat", "offsets": [[0, 3], [3, 7]]}}


def body(*prompts: str) -> dict[str, Any]:
    """A request with one rollout per prompt."""
    return {"task": "relc-toxicity", "rollouts": [{**ITEM, "prompt": prompt} for prompt in prompts]}


@pytest.fixture
def small(
    serve_app: Callable[[object], AbstractContextManager[str]], critic: Any
) -> Iterator[tuple[httpx.Client, Any]]:
    """A service that takes two rollouts at once and two kilobytes a call, and the critic behind it."""
    own = type(critic)()
    with serve_app(own) as critic_url:
        settings = Settings(
            server=ServerSettings(max_rollouts=2, max_body_mb=0.002),
            critic=EngineSettings(engine=EngineName.OPENAI, model="scripted", base_url=f"{critic_url}/v1"),
            **WEIGHTLESS,
        )
        with serve_app(create_app(settings)) as url, httpx.Client(base_url=url, timeout=30) as client:
            yield client, own


def test_a_body_that_is_too_large_is_refused(small: tuple[httpx.Client, Any]) -> None:
    """413 with the limit and what to do, before anything is parsed."""
    response = small[0].post("/score/token", content=b"x" * 3000)
    assert (response.status_code, response.json()["kind"]) == (413, "too_long")
    assert "server.max_body_mb" in response.json()["detail"]


def test_a_call_that_can_never_fit_is_told_to_split(small: tuple[httpx.Client, Any]) -> None:
    """More rollouts than the service takes at all: waiting would not help."""
    response = small[0].post("/score/token", json=body("a", "b", "c"))
    assert (response.status_code, response.json()["pointer"]) == (422, "/rollouts")
    assert "Retry-After" not in response.headers


def test_a_call_that_does_not_fit_now_is_told_when_to_return(small: tuple[httpx.Client, Any]) -> None:
    """503 with Retry-After while others are judged, and room again afterwards."""
    client, critic = small
    critic.delay_s = 3.0
    busy = threading.Thread(target=lambda: client.post("/score/token", json=body("a", "b")))
    busy.start()
    while not critic.prompts:
        time.sleep(0.01)
    response = client.post("/score/token", json=body("c"))
    assert (response.status_code, response.json()["kind"]) == (503, "overloaded")
    assert int(response.headers["Retry-After"]) >= 1
    busy.join()
    assert client.post("/score/token", json=body("c")).status_code == 200


def test_a_critic_that_cannot_be_reached_fails_the_rollout_and_readiness(
    serve_app: Callable[[object], AbstractContextManager[str]],
) -> None:
    """The call is answered, the rollout says ``engine``, and ``/readyz`` is red."""
    gone = EngineSettings(engine=EngineName.OPENAI, model="gone", base_url="http://127.0.0.1:9/v1")
    with (
        serve_app(create_app(Settings(critic=gone, **WEIGHTLESS))) as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        answer = client.post("/score/token", json={**body("a"), "timeout_s": 2})
        assert answer.status_code == 200
        assert answer.json()["results"][0]["failure"]["kind"] in ("engine", "past_deadline")
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert [part for part, answers in ready.json()["parts"].items() if not answers] == ["critic"]
