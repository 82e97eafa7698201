"""Servers on real ports: the service itself, and a critic that says what the test wrote down."""

import asyncio
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import httpx
import hypothesis
import pytest
import uvicorn

from assayd.app import create_app
from assayd.health.questions import CANARY
from assayd.settings import EngineName, EngineSettings, Settings

# A shared machine makes any single example slow now and then; speed is measured in tests/benchmarks.
hypothesis.settings.register_profile(
    "assay", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("assay")


@contextmanager
def serve(app: object, start_s: float = 60) -> Iterator[str]:
    """Run an ASGI application on a free port, which it may take ``start_s`` to open; gives its URL."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    give_up_at = time.monotonic() + start_s
    while not server.started:
        if not thread.is_alive() or time.monotonic() > give_up_at:
            raise RuntimeError("the server did not start")
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=30)


@pytest.fixture(scope="session")
def serve_app() -> Callable[[object], object]:
    """The means to run any ASGI application on a free port."""
    return serve


@pytest.fixture(scope="session")
def embedded_url() -> Iterator[str]:
    """The service as it comes: the embedded models, no settings."""
    with serve(create_app(Settings())) as url:
        yield url


@pytest.fixture
def embedded(embedded_url: str) -> Iterator[httpx.Client]:
    """A client of the service as it comes."""
    with httpx.Client(base_url=embedded_url, timeout=120) as client:
        yield client


class ScriptedCritic:
    """An OpenAI-compatible server that answers every chat with what ``reply`` says, and remembers what it was sent.

    Canaries it answers always alike.

    ``reply`` is a text, None (content null), or a function of the prompt. ``likely`` are the probabilities of the first
    token, told to who asks for them; None: they are never told.
    """

    def __init__(self) -> None:
        self.reply: str | Callable[[str], str | None] | None = "None identified"
        self.likely: dict[str, float] | Callable[[str], dict[str, float]] | None = None
        self.finish_reason = "stop"
        self.status = 200
        self.delay_s = 0.0
        self.prompts: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        if scope["path"].endswith("/models"):
            await self._send(send, 200, {"object": "list", "data": []})
            return
        request = json.loads(body)
        prompt = "\n".join(message["content"] for message in request["messages"])
        if prompt == CANARY.prompt[0].content:
            # Asked by the service itself, whenever it likes.
            await self._send(send, 200, {"choices": [{"message": {"content": "7"}, "finish_reason": "stop"}]})
            return
        self.bodies.append(request)
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        self.prompts.append(prompt)
        if await _hung_up(receive, within_s=self.delay_s):
            return
        content = self.reply(prompt) if callable(self.reply) else self.reply
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": content},
            "finish_reason": self.finish_reason,
        }
        if self.likely is not None and request.get("logprobs"):
            told = self.likely(prompt) if callable(self.likely) else self.likely
            first = [{"token": word, "logprob": math.log(share)} for word, share in told.items()]
            choice["logprobs"] = {"content": [{"top_logprobs": first}]}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        await self._send(send, self.status, {"choices": [choice], "usage": usage})

    async def _send(self, send: Any, status: int, value: object) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(value).encode()})


async def _hung_up(receive: Any, *, within_s: float) -> bool:
    """Wait, and say whether the caller went away meanwhile: nothing else comes behind a body."""
    gone = asyncio.ensure_future(receive())
    await asyncio.wait({gone}, timeout=within_s)
    return not gone.cancel()


@pytest.fixture(scope="session")
def _scripted_service() -> Iterator[tuple[str, ScriptedCritic]]:
    critic = ScriptedCritic()
    with serve(critic) as critic_url:
        engine = EngineSettings(engine=EngineName.OPENAI, model="scripted", base_url=f"{critic_url}/v1")
        fake = {"engine": EngineName.FAKE}
        scripted = Settings(critic=engine, rewriter=engine.model_dump(), segment=fake, sequence=fake)
        with serve(create_app(scripted)) as url:
            yield url, critic


@pytest.fixture(scope="session")
def new_critic() -> Callable[[], ScriptedCritic]:
    """The means to make a critic of one's own."""
    return ScriptedCritic


@pytest.fixture
def critic(_scripted_service: tuple[str, ScriptedCritic]) -> ScriptedCritic:
    """What the critic behind ``service`` will say; fresh for every test."""
    critic = _scripted_service[1]
    critic.__init__()  # type: ignore[misc]  # the server holds this very object
    return critic


@pytest.fixture
def service(_scripted_service: tuple[str, ScriptedCritic], critic: ScriptedCritic) -> Iterator[httpx.Client]:
    """A client of a service whose critic is ``critic``, over HTTP on both sides."""
    with httpx.Client(base_url=_scripted_service[0], timeout=60) as client:
        yield client


def finds_zebras(prompt: str) -> str:
    """A critic to whom `you zebra` is an insult, and who has no words for what is `unspeakable`."""
    if "unspeakable" in prompt:
        return "I would rather not."
    return "Toxic Span 1: you zebra" if "you zebra" in prompt else "None identified"


@pytest.fixture(scope="session")
def foreign() -> Iterator[Callable[..., str]]:
    """Gives the URL of a service that judges foreign requests as the settings say, by a critic who finds zebras.

    One service for the same settings, however often it is asked for.
    """
    critic = ScriptedCritic()
    critic.reply = finds_zebras
    with ExitStack() as stack:
        url = stack.enter_context(serve(critic))
        engine = EngineSettings(engine=EngineName.OPENAI, model="scripted", base_url=f"{url}/v1")
        fake = {"engine": EngineName.FAKE}

        @cache
        def start(said: str) -> str:
            by_critic = {"method": "critic", "task": "relc-toxicity", **json.loads(said)}
            settings = Settings(critic=engine, rewriter=fake, segment=fake, sequence=fake, compat=by_critic)
            return stack.enter_context(serve(create_app(settings)))

        yield lambda **compat: start(json.dumps(compat, sort_keys=True))
