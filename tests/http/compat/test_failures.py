"""What could not be judged is never a number: an error, or what a format has for the lack of a reward."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from assayd.app import create_app
from assayd.settings import EngineName, EngineSettings, Settings

CHAT = "<|im_start|>user\nHm?<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>"
GOOD, BAD, UNSPLIT = CHAT.format("A horse."), CHAT.format("unspeakable"), "no marker at all"

Start = Callable[..., str]


def row(text: str) -> dict[str, Any]:
    """A row of NeMo-Gym."""
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
    return {
        "responses_create_params": {"input": "Hm?"},
        "response": {"output": [said]},
        "instance_config": {"image": "x"},
    }


ALL_FORMATS = [
    ("/get_reward", {"query": [BAD], "prompts": [BAD.split("unspeakable")[0]], "labels": [None]}),
    ("/remote_rm", {"prompt": "Hm?", "response": "unspeakable", "label": None}),
    ("/v1/score/evaluation", {"model": "model", "messages": [GOOD, BAD]}),
    ("/classify", {"model": "rm", "input": BAD, "use_activation": False}),
    ("/classify", {"model": "rm", "text": [BAD]}),
    ("/v1/embeddings", {"model": "rm", "input": BAD}),
    ("/score", {"model": "rm", "text_1": "Hm?", "text_2": ["A horse.", "unspeakable"]}),
    ("/pooling", {"model": "rm", "input": [GOOD, BAD]}),
    ("/verify", row("unspeakable")),
]


@pytest.mark.parametrize(("path", "body"), ALL_FORMATS)
def test_a_rollout_that_cannot_be_judged_is_an_error(foreign: Start, path: str, body: Any) -> None:
    """By default the call fails, with a status that tells clients not to try again."""
    response = httpx.post(foreign() + path, json=body)
    assert (response.status_code, response.json()["kind"]) == (422, "unparseable")


@pytest.mark.parametrize(("path", "body"), ALL_FORMATS[2:8])
def test_formats_without_a_word_for_it_fail_whatever_is_asked(foreign: Start, path: str, body: Any) -> None:
    """`null` changes nothing where a trainer's client could not bear it."""
    response = httpx.post(foreign(on_failure="null") + path, json=body)
    assert (response.status_code, response.json()["kind"]) == (422, "unparseable")


def test_openrlhf_is_told_null(foreign: Start) -> None:
    """One sample: null itself, which the executor takes for no reward. Among others: an error, no list with a hole."""
    url = foreign(on_failure="null")
    answer = httpx.post(f"{url}/get_reward", json=ALL_FORMATS[0][1]).json()
    assert answer == {"rewards": None, "scores": None, "extra_logs": {}}
    assert httpx.post(f"{url}/get_reward", json={"query": [GOOD, BAD]}).status_code == 422


def test_slime_is_told_null_and_why(foreign: Start) -> None:
    """`score` is null and the other keys are there, so that samples look alike."""
    url = foreign(on_failure="null")
    answer = httpx.post(f"{url}/remote_rm", json=ALL_FORMATS[1][1]).json()
    good = httpx.post(
        f"{url}/remote_rm", json={"prompt": "Hm?", "response": "A horse.", "label": None}
    ).json()
    assert set(answer) == set(good)
    assert answer["score"] is None
    assert answer["failure"].startswith("unparseable")


def test_nemo_gym_is_told_to_mask(foreign: Start) -> None:
    """The words that Gym and NeMo-RL have for it stand beside the number that the format demands."""
    answer = httpx.post(foreign(on_failure="null") + "/verify", json=row("unspeakable")).json()
    assert answer["instance_config"] == {"image": "x", "mask_sample": True}
    assert answer["_ng_failure_class"] == "judge_failed"
    assert answer["_ng_failure_judge_error"].startswith("unparseable")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/score/evaluation", {"messages": [GOOD, UNSPLIT]}),
        ("/classify", {"input": UNSPLIT}),
        ("/classify", {"text": UNSPLIT}),
        ("/pooling", {"input": UNSPLIT}),
        ("/get_reward", {"query": ["Other words."], "prompts": ["Hm?"], "labels": [None]}),
    ],
)
def test_what_cannot_be_split_is_refused(foreign: Start, path: str, body: Any) -> None:
    """Nobody guesses where a completion begins."""
    response = httpx.post(foreign() + path, json=body)
    assert (response.status_code, response.json()["kind"]) == (422, "unaligned")


@pytest.mark.parametrize("path", ["/verify", "/get_reward"])
def test_nothing_said_is_nothing_to_reward(foreign: Start, path: str) -> None:
    """An empty completion, or a response that ends in a call of a tool, has no reward."""
    call = {"type": "function_call", "name": "look", "arguments": "{}", "call_id": "c"}
    bodies = {
        "/verify": {**row(""), "response": {"output": [call]}},
        "/get_reward": {"query": ["Hm?"], "prompts": ["Hm?"]},
    }
    response = httpx.post(foreign() + path, json=bodies[path])
    assert (response.status_code, response.json()["kind"]) == (422, "empty")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/classify", {"input": GOOD, "use_activation": True}),
        ("/classify", {"input": GOOD, "truncate_prompt_tokens": 16}),
        ("/classify", {"input": []}),
        ("/classify", {"model": "rm"}),
        ("/classify", {"text": GOOD, "input_ids": [1]}),
        ("/classify", {"messages": [{"role": "user", "content": "Hm?"}]}),
        ("/classify", {"messages": [{"role": "assistant", "content": [{"type": "image_url"}]}]}),
        ("/pooling", {"input": GOOD, "task": "embed"}),
        ("/pooling", {"messages": [{"role": "assistant", "content": "Hm."}]}),
        ("/pooling", {"input": [[1, 2, 3]]}),
        ("/v1/score/evaluation", {"messages": [GOOD], "max_length": 16}),
        ("/get_reward", {"query": [GOOD, GOOD], "prompts": ["Hm?"]}),
        ("/get_reward", {"query": "a text"}),
        ("/verify", {"responses_create_params": {}, "response": {"output": []}}),
    ],
)
def test_what_would_change_the_answer_and_is_not_served_is_refused(
    foreign: Start, path: str, body: Any
) -> None:
    """Options that ask for another number, and requests of no known shape, are refused with their kind."""
    response = httpx.post(foreign() + path, json=body)
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["kind"] == "invalid"


def test_an_outage_is_worth_another_try(serve_app: Callable[[object], Any]) -> None:
    """A critic that is away is a status from 500 on, which clients try again."""
    away = EngineSettings(engine=EngineName.OPENAI, model="away", base_url="http://127.0.0.1:9/v1")
    settings = Settings(
        critic=away,
        segment={"engine": "fake"},
        sequence={"engine": "fake"},
        rewriter={"engine": "fake"},
        compat={"method": "critic", "task": "relc-toxicity"},
        server={"default_timeout_s": 0.5},
    )
    with serve_app(create_app(settings)) as url:
        for path, body in ALL_FORMATS:
            response = httpx.post(url + path, json=body)
            assert response.status_code in (503, 504), response.text


def test_not_json_is_refused(foreign: Start) -> None:
    """A body that is no JSON is 400 here as elsewhere."""
    url = foreign()
    for path in {path for path, _ in ALL_FORMATS}:
        assert httpx.post(url + path, content=json.dumps(row("x"))[:-1]).status_code == 400
