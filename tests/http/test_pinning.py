"""Whoever pins a recipe is judged by it or not at all, on every route that judges."""

import time
from typing import Any

import httpx
import pytest

ROLLOUT = {
    "prompt": "What is 2 + 2?",
    "completion": {"text": "2 + 2 = 5.\nA: 5"},
    "reference": "2 + 2 = 4.\nA: 4",
}
CALLS: dict[str, dict[str, Any]] = {
    "critic": {"path": "/score/token", "task": "relc-toxicity"},
    "grm": {"path": "/score/token", "method": "grm"},
    "segment": {"path": "/score/segment"},
    "prefix_diff": {"path": "/score/segment", "method": "prefix_diff"},
    "sequence": {"path": "/score/sequence"},
    "rewrite": {"path": "/rewrite"},
}
OTHER = "sha256:" + "0" * 64


def asked(client: httpx.Client, call: dict[str, Any], *pins: str) -> httpx.Response:
    """The answer to one rollout under these header lines."""
    body = {name: value for name, value in call.items() if name != "path"} | {"rollouts": [ROLLOUT]}
    headers = [("If-Reward-Match", pin) for pin in pins]
    return client.post(call["path"], json=body, headers=headers)


@pytest.mark.parametrize("method", CALLS)
def test_a_pin_holds_on_every_route(embedded: httpx.Client, method: str) -> None:
    """``/info`` names the recipe beforehand, the answer repeats it, and another pin is answered 412 with it."""
    (told,) = [
        recipe
        for recipe in embedded.get("/info").json()["recipes"]
        if recipe["method"] == method and recipe.get("task", "relc-toxicity") == "relc-toxicity"
    ]
    pinned = asked(embedded, CALLS[method], told["id"])
    assert pinned.status_code == 200
    assert pinned.headers["Reward-Recipe"] == pinned.json()["recipe"]["id"] == told["id"]
    assert told["route"] == CALLS[method]["path"]
    refused = asked(embedded, CALLS[method], OTHER)
    assert (refused.status_code, refused.headers["Reward-Recipe"]) == (412, told["id"])
    assert refused.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("pins", "status"),
    [
        (["*"], 200),
        (['"{id}"'], 200),
        ([f"{OTHER}, {{id}}"], 200),
        ([f'"{OTHER}" ,, "{{id}}"'], 200),
        ([OTHER, '"{id}"'], 200),
        (['W/"{id}"'], 412),
        ([f'"{OTHER}"'], 412),
        ([f'W/"{{id}}", "{OTHER}"'], 412),
        (['"{id}'], 422),
        (["{id} {id}"], 422),
        (["*, {id}"], 422),
        ([""], 422),
    ],
)
def test_a_pin_is_read_as_if_match_is(embedded: httpx.Client, pins: list[str], status: int) -> None:
    """Lists, stars, quotes and several lines as in RFC 9110; weak ids match nothing; what is neither is refused."""
    call = CALLS["segment"]
    own = asked(embedded, call).headers["Reward-Recipe"]
    answer = asked(embedded, call, *(pin.replace("{id}", own) for pin in pins))
    assert answer.status_code == status, answer.text


def test_a_long_pin_takes_no_time(embedded: httpx.Client) -> None:
    """A header of nothing but spaces between two words is refused at once, not read over and over."""
    began = time.monotonic()
    answer = asked(embedded, CALLS["critic"], "a" + " " * 30_000 + "b")
    assert answer.status_code == 422
    assert time.monotonic() - began < 5.0
