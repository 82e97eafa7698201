"""The engine that asks an OpenAI-compatible server, against one on a real port that follows a script."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from assayd.domain.failure import AnnotationFailed, FailureKind
from assayd.domain.ports import Deadline, FinishReason, Generation, Sampling
from assayd.domain.provenance import ModelRef
from assayd.domain.rollout import Message, Role
from assayd.engines.openai import ATTEMPTS, READY_TIMEOUT_S, Generator
from assayd.settings import EngineName, EngineSettings

MESSAGES = (Message(Role.SYSTEM, "judge"), Message(Role.USER, "a secret completion"))


def completion(content: Any = "fine", finish: str = "stop") -> str:
    """The body of a chat completion."""
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": finish}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})


@dataclass
class Answer:
    """What the server says, and when."""

    status: int = 200
    body: str = completion()
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


class Server:
    """An ASGI app that gives the scripted answers in order, the last one for ever."""

    def __init__(self) -> None:
        self.script = [Answer()]
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.arrived_s: list[float] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message.get("body", b"")
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.requests.append((scope["path"], headers, json.loads(body) if body else None))
        self.arrived_s.append(time.monotonic())
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        await asyncio.sleep(answer.delay_s)
        raw = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        await send({"type": "http.response.body", "body": answer.body.encode()})


@pytest.fixture(scope="module")
def _running(serve_app: Callable[[object], AbstractContextManager[str]]) -> Iterator[tuple[str, Server]]:
    server = Server()
    with serve_app(server) as url:
        yield url, server


@pytest.fixture
def server(_running: tuple[str, Server]) -> Server:
    """The server behind ``engine``; fresh for every test."""
    _running[1].__init__()  # type: ignore[misc]  # the port is bound to this very object
    return _running[1]


@pytest.fixture
async def engine(_running: tuple[str, Server], server: Server) -> AsyncIterator[Generator]:
    """An engine that asks ``server``."""
    settings = EngineSettings(
        engine=EngineName.OPENAI, model="critic", base_url=f"{_running[0]}/v1", api_key="sesame"
    )
    engine = await Generator.open(settings)
    yield engine
    await engine.close()


@pytest.fixture
async def narrow(_running: tuple[str, Server], server: Server) -> AsyncIterator[Generator]:
    """An engine that asks ``server`` one thing at a time."""
    engine = Generator(f"{_running[0]}/v1", ModelRef("critic", "unpinned"), max_in_flight=1)
    yield engine
    await engine.close()


async def _ask(engine: Generator, timeout_s: float = 20.0, **sampling: Any) -> Generation:
    settled = Sampling(**{"max_tokens": 5, **sampling})
    return await engine.generate(MESSAGES, settled, deadline=Deadline.after(timeout_s))


async def _failure(engine: Generator, timeout_s: float = 20.0) -> AnnotationFailed:
    with pytest.raises(AnnotationFailed) as failed:
        await _ask(engine, timeout_s)
    return failed.value


async def test_the_call_and_its_answer(engine: Generator, server: Server) -> None:
    """All of the sampling travels, with the key; text, finish and usage come back."""
    generation = await _ask(engine, temperature=0.5, top_p=0.9, seed=3, stop=("\n",))
    assert generation.text == "fine"
    assert generation.finish is FinishReason.STOP
    usage = generation.usage
    assert (usage.calls, usage.prompt_tokens, usage.completion_tokens) == (1, 7, 3)
    [(path, headers, body)] = server.requests
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == "Bearer sesame"
    assert body == {
        "model": "critic",
        "messages": [
            {"role": "system", "content": "judge"},
            {"role": "user", "content": "a secret completion"},
        ],
        "max_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 3,
        "stop": ["\n"],
    }


async def test_running_out_of_tokens_is_said(engine: Generator, server: Server) -> None:
    """``finish_reason: length`` is LENGTH."""
    server.script = [Answer(body=completion(finish="length"))]
    assert (await _ask(engine)).finish is FinishReason.LENGTH


async def test_an_empty_text_is_a_text(engine: Generator, server: Server) -> None:
    """``content: ""`` is what the critic said."""
    server.script = [Answer(body=completion(""))]
    assert (await _ask(engine)).text == ""


@pytest.mark.parametrize("body", [completion(None), '{"choices": [{"message": {}}]}'])
async def test_no_text_is_a_failure(engine: Generator, server: Server, body: str) -> None:
    """Null or missing content is never taken for a critique."""
    server.script = [Answer(body=body)]
    failed = await _failure(engine)
    assert failed.kind is FailureKind.ENGINE
    assert "returned no text" in failed.detail


@pytest.mark.parametrize("body", ["<html>", "[]", '{"choices": []}', '{"choices": [{"message": null}]}', "3"])
async def test_an_answer_that_is_none_is_a_failure(engine: Generator, server: Server, body: str) -> None:
    """A proxy's page or a truncated answer is kind ``engine``."""
    server.script = [Answer(body=body)]
    assert (await _failure(engine)).kind is FailureKind.ENGINE


@pytest.mark.parametrize(
    ("status", "said", "kind", "advice"),
    [
        (401, "no", FailureKind.ENGINE, "api_key"),
        (403, "no", FailureKind.ENGINE, "api_key"),
        (404, "no such model", FailureKind.ENGINE, "base_url"),
        (400, "bad request", FailureKind.ENGINE, "bad request"),
        (400, "This model's maximum context length is 4096 tokens.", FailureKind.TOO_LONG, "4096"),
        (400, '{"code": "context_length_exceeded"}', FailureKind.TOO_LONG, "too long"),
    ],
)
async def test_a_refusal_is_not_asked_again(
    engine: Generator, server: Server, status: int, said: str, kind: FailureKind, advice: str
) -> None:
    """A status that will not change fails at once and says what to check."""
    server.script = [Answer(status, said)]
    failed = await _failure(engine)
    assert failed.kind is kind
    assert advice in failed.detail
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_of_a_refused_key_nothing_is_told(engine: Generator, server: Server, status: int) -> None:
    """OpenAI quotes a part of it."""
    server.script = [Answer(status, "Incorrect API key provided: sk-proj-ab***yz")]
    assert "sk-proj" not in (await _failure(engine)).detail


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
async def test_a_passing_failure_is_asked_again(engine: Generator, server: Server, status: int) -> None:
    """One bad status costs a second attempt and no more."""
    server.script = [Answer(status), Answer()]
    assert (await _ask(engine)).text == "fine"
    assert len(server.requests) == 2


async def test_retry_after_is_honoured(engine: Generator, server: Server) -> None:
    """The second attempt comes when the server said, in seconds or by a date, and not before."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=4), usegmt=True)
    server.script = [
        Answer(429, headers={"retry-after": "2"}),
        Answer(503, headers={"retry-after": soon}),
        Answer(),
    ]
    await _ask(engine)
    first, second, third = server.arrived_s
    assert 2.0 <= second - first < 2.7
    assert third - first > 2.9


async def test_a_wait_past_the_deadline_is_not_begun(engine: Generator, server: Server) -> None:
    """A server that wants more time than there is ends the call at once."""
    server.script = [Answer(429, headers={"retry-after": "30"})]
    began_s = time.monotonic()
    failed = await _failure(engine, timeout_s=5)
    assert failed.kind is FailureKind.PAST_DEADLINE
    assert "429" in failed.detail
    assert time.monotonic() - began_s < 2
    assert len(server.requests) == 1


async def test_attempts_end_with_the_deadline(engine: Generator, server: Server) -> None:
    """A server that fails for ever is given up when the time is over."""
    server.script = [Answer(503, headers={"retry-after": "0"}, delay_s=0.3)]
    began_s = time.monotonic()
    failed = await _failure(engine, timeout_s=0.7)
    assert failed.kind is FailureKind.PAST_DEADLINE
    assert 0.6 < time.monotonic() - began_s < 1.2
    assert 2 <= len(server.requests) <= 3


async def test_attempts_are_counted(engine: Generator, server: Server) -> None:
    """Time left does not mean asking without end."""
    server.script = [Answer(503, headers={"retry-after": "0"})]
    failed = await _failure(engine)
    assert "503" in failed.detail
    assert len(server.requests) == ATTEMPTS


async def test_a_slow_answer_is_past_the_deadline(engine: Generator, server: Server) -> None:
    """The deadline holds while the server thinks, and a call that is late already is not made."""
    server.script = [Answer(delay_s=5)]
    assert (await _failure(engine, timeout_s=0.2)).kind is FailureKind.PAST_DEADLINE
    assert (await _failure(engine, timeout_s=-1)).kind is FailureKind.PAST_DEADLINE
    assert len(server.requests) == 1


BEGUN = (*MESSAGES, Message(Role.ASSISTANT, "  one\ntwo\n"))
UNKNOWN = json.dumps({"error": {"message": "Unrecognized request argument supplied: continue_final_message"}})


async def _continued(engine: Generator) -> str:
    asked = engine.generate(BEGUN, Sampling(max_tokens=5), deadline=Deadline.after(20))
    return (await asked).text


async def test_a_begun_reply_is_continued(engine: Generator, server: Server) -> None:
    """Servers like vLLM are told to go on; what they say comes back as it is."""
    server.script = [Answer(body=completion("three"))]
    assert await _continued(engine) == "three"
    [(_, _, body)] = server.requests
    assert body["messages"][-1] == {"role": "assistant", "content": "  one\ntwo\n"}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


@pytest.mark.parametrize("status", [400, 422])
async def test_a_server_that_cannot_continue(engine: Generator, server: Server, status: int) -> None:
    """It is asked once more without the words it does not know, and never told them again."""
    server.script = [Answer(status, UNKNOWN), Answer(body=completion("three"))]
    assert [await _continued(engine), await _continued(engine)] == ["three", "three"]
    told = ["continue_final_message" in body for _, _, body in server.requests]
    assert told == [True, False, False]
    assert all(body["messages"][-1]["role"] == "assistant" for _, _, body in server.requests)


@pytest.mark.parametrize(
    "said", ["  one\ntwo\nthree", "one\ntwo\nthree", "\n\none\ntwo\nthree"], ids=["whole", "bare", "spaced"]
)
async def test_a_beginning_is_never_doubled(engine: Generator, server: Server, said: str) -> None:
    """A server that starts anew repeats the beginning: what comes back is what stands behind it."""
    server.script = [Answer(body=completion(said))]
    assert await _continued(engine) == "three"


async def test_other_refusals_of_a_begun_reply_stand(engine: Generator, server: Server) -> None:
    """A 400 for another reason is not asked again."""
    server.script = [Answer(400, "bad request")]
    with pytest.raises(AnnotationFailed, match="bad request"):
        await _continued(engine)
    assert len(server.requests) == 1


SCHEMA = '{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"number"}}}'
NO_FORMATS = "This response_format type is unavailable now"


async def test_a_schema_is_asked_for(engine: Generator, server: Server) -> None:
    """It travels as a structured output, its fields in their order; without one there is no such field."""
    await _ask(engine, json_schema=SCHEMA)
    await _ask(engine)
    (_, _, held), (_, _, free) = server.requests
    named = held["response_format"].pop("json_schema")
    assert held.pop("response_format") == {"type": "json_schema"}
    assert json.dumps(named.pop("schema"), separators=(",", ":")) == SCHEMA
    assert named == {"name": "reply", "strict": True}
    assert held == free


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, NO_FORMATS),
        (422, '{"detail": [{"loc": ["body", "response_format"], "msg": "Extra inputs are not permitted"}]}'),
        (404, "No endpoints found that support structured outputs."),
        (400, "The provided JSON schema contains features not supported by xgrammar."),
        (400, "guided decoding is off"),
    ],
)
async def test_a_server_without_structured_outputs(
    engine: Generator, server: Server, status: int, said: str
) -> None:
    """It is asked once more without, and never with them again."""
    server.script = [Answer(status, said), Answer()]
    assert [(await _ask(engine, json_schema=SCHEMA)).text for _ in range(2)] == ["fine", "fine"]
    assert ["response_format" in body for _, _, body in server.requests] == [True, False, False]


@pytest.mark.parametrize(
    "script",
    [
        [Answer(400, UNKNOWN), Answer(400, NO_FORMATS), Answer()],
        [Answer(400, NO_FORMATS), Answer(400, UNKNOWN), Answer()],
        [Answer(400, f"{UNKNOWN} {NO_FORMATS}"), Answer()],
    ],
    ids=["one by one", "the other way round", "both at once"],
)
async def test_a_server_that_knows_neither(engine: Generator, server: Server, script: list[Answer]) -> None:
    """All that is refused is dropped, in whatever order the server says so, and for good."""
    server.script, refusals = [*script], len(script) - 1
    settled = Sampling(max_tokens=5, json_schema=SCHEMA)
    for _ in range(2):
        await engine.generate(BEGUN, settled, deadline=Deadline.after(20))
    bodies = [body.keys() for _, _, body in server.requests]
    assert len(bodies) == refusals + 2
    assert all(not body & {"response_format", "continue_final_message"} for body in bodies[refusals:])


async def test_only_what_mattered_is_left_out(engine: Generator, server: Server) -> None:
    """A server that fails without the schema too, or for a passing reason, is asked with it the next time."""
    server.script = [Answer(400, "structured prompt, but bad"), Answer(400, "bad"), Answer(500), Answer()]
    with pytest.raises(AnnotationFailed, match="bad"):
        await _ask(engine, json_schema=SCHEMA)
    assert (await _ask(engine, json_schema=SCHEMA)).text == "fine"
    assert ["response_format" in body for _, _, body in server.requests] == [True, False, True, True]


async def test_no_server_is_an_engine_failure() -> None:
    """A refused connection is tried again, then said without the address; the engine is not ready meanwhile."""
    engine = Generator("http://127.0.0.1:9/v1", ModelRef("the critic", "unpinned"))
    assert not await engine.ready()
    failed = await _failure(engine)
    assert failed.kind is FailureKind.ENGINE
    assert "the critic" in failed.detail
    assert "127.0.0.1" not in failed.detail
    await engine.close()


@pytest.mark.parametrize(("status", "ready"), [(200, True), (404, True), (401, True), (500, False)])
async def test_ready_when_the_server_answers(
    engine: Generator, server: Server, status: int, ready: bool
) -> None:
    """A server without a list of models is alive; one that breaks is not."""
    server.script = [Answer(status)]
    assert await engine.ready() is ready
    assert server.requests[0][0] == "/v1/models"


async def test_a_server_that_is_busy_is_ready(narrow: Generator, server: Server) -> None:
    """Its only place is taken for longer than whoever asks for readiness waits: it says so all the same."""
    server.script = [Answer(delay_s=READY_TIMEOUT_S + 2), Answer()]
    work = asyncio.create_task(_ask(narrow))
    await asyncio.sleep(0.5)
    assert len(server.requests) == 1
    assert await narrow.ready()
    assert not work.done()
    assert (await work).text == "fine"


async def test_an_answer_that_cannot_be_unpacked_is_asked_for_again(
    engine: Generator, server: Server
) -> None:
    """What a proxy broke is no fault of the rollout's."""
    server.script = [Answer(headers={"Content-Encoding": "gzip"}), Answer()]
    assert (await _ask(engine)).text == "fine"


async def test_a_retry_logs_no_prompt(
    engine: Generator, server: Server, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """What stamina's hooks print of a retry holds the cause and nothing of the request."""
    caplog.set_level(logging.DEBUG, logger="stamina")
    server.script = [Answer(503, headers={"retry-after": "0"}), Answer()]
    await _ask(engine)
    printed = "".join(capsys.readouterr()) + "".join(str(vars(record)) for record in caplog.records)
    assert "secret" not in printed
    assert "sesame" not in printed


async def test_settings_that_lack_something_are_refused() -> None:
    """Address and model are needed; the revision is what the settings pin."""
    with pytest.raises(ValueError, match="base_url"):
        await Generator.open(EngineSettings(engine=EngineName.OPENAI, model="critic"))
    url = "http://127.0.0.1:9"
    engine = await Generator.open(EngineSettings(engine=EngineName.OPENAI, model="critic", base_url=url))
    assert engine.model == ModelRef("critic", "unpinned", "openai")
    await engine.close()
