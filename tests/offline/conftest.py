"""A service that does what a test wants, on a real port, and runs against it or against the real one."""

import asyncio
import io
import json
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from assayd.app import create_app
from assayd.offline.annotating import Pace
from assayd.offline.columns import Columns
from assayd.offline.finishing import Finished
from assayd.offline.plan import asked_of
from assayd.offline.session import Request, annotate
from assayd.settings import EngineName, Settings

FAKES = {name: {"engine": EngineName.FAKE} for name in ("critic", "segment", "rewriter")}


class StubService:
    """Answers every judging route with one token's reward, made from the completion; remembers every call.

    ``answers``: statuses (and headers, and bodies) that the next calls get instead, from the left. ``failing``: texts
    of completions that fail. ``advantage_of``: what the sequence route says of a text. ``delay_s`` before an answer.
    """

    def __init__(self) -> None:
        self.answers: deque[tuple[int, dict[str, str], dict[str, Any]]] = deque()
        self.failing: set[str] = set()
        self.too_many = 10_000
        self.crashes_on: set[str] = set()
        self.malformed: set[str] = set()
        self.recipe: dict[str, Any] = {"id": "sha256:one", "options": {"alpha": 1.0}}
        self.advantage_of: Callable[[str], float | None] = len
        self.delay_s = 0.0
        self.calls: list[dict[str, Any]] = []
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
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        request = {"path": scope["path"], **json.loads(body)}
        self.calls.append(request)
        self.headers.append(headers)
        await asyncio.sleep(self.delay_s)
        status, extra, answer = self._answer(request, headers)
        sent = [(name.encode(), value.encode()) for name, value in extra.items()]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    def _answer(
        self, request: dict[str, Any], headers: dict[str, str]
    ) -> tuple[int, dict[str, str], dict[str, Any]]:
        if self.answers:
            return self.answers.popleft()
        texts = [rollout["completion"]["text"] for rollout in request["rollouts"]]
        if headers.get("if-reward-match", self.recipe["id"]) != self.recipe["id"]:
            return 412, {}, {"kind": "invalid", "detail": "the recipe is another one"}
        if len(texts) > self.too_many:
            return 413, {}, {"kind": "too_long", "detail": "the body is too large"}
        if self.crashes_on & set(texts):
            return 500, {}, {"kind": "internal", "detail": "a defect"}
        errors = [
            {"pointer": f"/rollouts/{place}/prompt", "detail": "no prompt like that"}
            for place, text in enumerate(texts)
            if text in self.malformed
        ]
        if errors:
            return (
                422,
                {},
                {"kind": "invalid", "detail": "no", "pointer": errors[0]["pointer"], "errors": errors},
            )
        results = [self._result(request["path"], rollout) for rollout in request["rollouts"]]
        return 200, {}, {"results": results, "recipe": self.recipe}

    def _result(self, path: str, rollout: dict[str, Any]) -> dict[str, Any]:
        text = rollout["completion"]["text"]
        if text in self.failing:
            return {
                "id": rollout["id"],
                "status": "failed",
                "failure": {"kind": "engine", "detail": "no answer"},
            }
        made: dict[str, Any] = {"id": rollout["id"], "status": "ok"}
        made["provenance"] = {
            "key": f"key of {text}",
            "cached": False,
            "usage": {},
            "timings": {"elapsed_s": 1},
        }
        if path == "/score/sequence":
            advantage = self.advantage_of(text)
            value = None if advantage is None else 1.0
            reward = 0.0 if advantage is None else advantage + 1.0
            keep = None if advantage is None else advantage > 0
            return {
                **made,
                "components": {},
                "reward": reward,
                "value": value,
                "advantage": advantage,
                "keep": keep,
                "sampling_weight": None if advantage is None else 0.5,
            }
        if path == "/rewrite":
            return {**made, "rewritten": text, "verified": True, "correct": True, "edit_ratio": 0.0}
        return {
            **made,
            "rewards": [len(text) / 10, 0.0],
            "intrinsic": [len(text) / 10, 0.0],
            "offsets": [[0, len(text)], [len(text), len(text)]],
        }


@pytest.fixture
def stub() -> StubService:
    """The service that does what the test wants."""
    return StubService()


@pytest.fixture
def stub_url(stub: StubService, serve_app: Callable[[object], Any]) -> Iterator[str]:
    """Where it listens."""
    with serve_app(stub) as url:
        yield url


@pytest.fixture(scope="module")
def service_url(serve_app: Callable[[object], Any]) -> Iterator[str]:
    """The real service, on engines without weights."""
    with serve_app(create_app(Settings(**FAKES))) as url:
        yield url


@pytest.fixture
def run_annotate() -> Callable[..., Finished]:
    """A run in this process; everything that is not said is as the command line has it."""

    def run(source: Path, out: Path, with_: str, **said: Any) -> Finished:
        options = said.pop("options", None)
        task = said.pop("task", "math-steps")
        console = said.pop("console", None) or Console(file=io.StringIO())
        pace = Pace(said.pop("batch", 4), said.pop("in_flight", 3))
        columns = Columns.parse(said.pop("column", ()))
        request = Request(
            source=source,
            out=out,
            asked=asked_of(with_, task=task, options=options),
            columns=columns,
            settings=Settings(**FAKES),
            **{
                "url": None,
                "exports": (),
                "prefix": "assay_",
                "retry_failed": False,
                "fresh": False,
                "timeout_s": 60.0,
                "patience_s": 20.0,
                **said,
            },
            pace=pace,
        )
        return asyncio.run(annotate(request, console))

    return run


def rollouts(count: int) -> list[dict[str, Any]]:
    """Rows that all differ."""
    return [
        {
            "id": f"r{index}",
            "prompt": f"What is {index} and 1?",
            "completion": {"text": f"{index} + 1 = {index + 1}.\nA: {index + 1}"},
            "reference": f"A: {index + 1}",
            "correct": True,
        }
        for index in range(count)
    ]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    """JSONL as rows."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def lines() -> Any:
    """The means to make, write and read JSONL."""

    class Lines:
        make = staticmethod(rollouts)
        write = staticmethod(write_lines)
        read = staticmethod(read_lines)

    return Lines
