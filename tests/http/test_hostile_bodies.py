"""Bodies that once broke the service, each found by ``python -m tests.heavy.fuzz``."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest

from assayd.app import create_app
from assayd.settings import EngineName, ServerSettings, Settings

FAKE = {part: {"engine": EngineName.FAKE} for part in ("critic", "rewriter", "segment", "sequence")}
ROUTES = ("/score/token", "/score/segment", "/score/sequence", "/rewrite", "/classify", "/pooling")
GOOD = {"completion": {"text": "you rat", "offsets": [[0, 3], [3, 7]]}}
CHAT = "<|im_start|>user\nA?<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>"


@pytest.fixture(scope="module")
def client(serve_app: Callable[[object], AbstractContextManager[str]]) -> Iterator[httpx.Client]:
    """A service without weights that looks at texts of a hundred characters."""
    settings = Settings(
        server=ServerSettings(max_completion_chars=100, max_prompt_chars=100),
        compat={"method": "critic", "task": "relc-toxicity"},
        **FAKE,
    )
    with serve_app(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def results(client: httpx.Client, *rollouts: dict[str, Any]) -> list[Any]:
    """What became of each."""
    answer = client.post("/score/token", content=json.dumps({"task": "relc-toxicity", "rollouts": rollouts}))
    assert answer.status_code == 200, answer.text
    told: list[Any] = answer.json()["results"]
    return told


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "nest", ["[" * 100_000, '{"rollouts":' * 100_000, '{"a":' + "[" * 5000 + "]" * 5000 + "}"]
)
def test_nesting_without_an_end_is_refused(client: httpx.Client, path: str, nest: str) -> None:
    """By whoever validates: what only looks for the method gives up in silence."""
    answer = client.post(path, content=nest)
    assert (answer.status_code, answer.json()["kind"]) in ((400, "invalid"), (422, "invalid"))


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("body", [b'{"method\xcc": 1}', b'{"method": "\xed\xa0\x80"}', "{}".encode("utf-16")])
def test_what_is_not_utf8_is_no_json(client: httpx.Client, path: str, body: bytes) -> None:
    """400, with the place."""
    answer = client.post(path, content=body)
    assert (answer.status_code, answer.json()["kind"]) == (400, "invalid")


def test_offsets_beyond_all_lengths_fail_alone(client: httpx.Client) -> None:
    """More than 63 bits are no length; the neighbour is judged."""
    far = {"completion": {"text": "you rat", "offsets": [[0, 2**63], [2**63, 2**64]]}}
    bad, good = results(client, far, GOOD)
    assert bad["failure"]["kind"] == "unaligned"
    assert good["status"] == "ok"


@pytest.mark.parametrize(
    "long",
    [
        {"completion": {"text": "a" * 101}},
        {"completion": {"text": "a", "offsets": [[0, 0]] * 101}},
        {**GOOD, "reference": "a" * 101},
        {**GOOD, "prompt": [{"role": "user", "content": "a" * 60}, {"role": "user", "content": "a" * 60}]},
    ],
)
def test_a_text_that_is_too_long_fails_alone(client: httpx.Client, long: dict[str, Any]) -> None:
    """Before anything is done with it: ten megabytes held the service up for forty seconds."""
    bad, good = results(client, long, GOOD)
    assert bad["failure"]["kind"] == "too_long"
    assert "server.max_" in bad["failure"]["detail"]
    assert good["status"] == "ok"


def test_a_running_text_that_is_too_long_is_refused(client: httpx.Client) -> None:
    """In the foreign formats, where one failure fails the call."""
    for path, body in (
        ("/classify", {"input": CHAT.format("a" * 101)}),
        ("/pooling", {"input": CHAT.format("a" * 101)}),
        ("/get_reward", {"query": [CHAT.format("a" * 101)]}),
    ):
        answer = client.post(path, json=body)
        assert (answer.status_code, answer.json()["kind"]) == (413, "too_long"), path


def test_texts_that_cannot_be_aligned_in_time_are_past_the_deadline(embedded: httpx.Client) -> None:
    """The deadline holds for what comes before the engine too; others are answered meanwhile."""
    rollout = {"completion": {"text": "a\n" * 100_000}}
    began_s = time.monotonic()
    call = {"task": "relc-toxicity", "rollouts": [rollout], "timeout_s": 0.05}
    answer = embedded.post("/score/token", json=call)
    assert answer.json()["results"][0]["failure"]["kind"] == "past_deadline"
    assert embedded.get("/healthz").status_code == 200
    assert time.monotonic() - began_s < 60
