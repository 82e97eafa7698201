"""Quotas through the front door, counted in memory."""

import time
from typing import Any

import httpx
import pytest

LONG = 1000
"""Seconds; no test lives to see the end of such a window."""


def rollout(number: int, *, characters: int = 40) -> dict[str, Any]:
    """One of many, reckoned at 10 tokens of prompt and 2 of completion."""
    prompt = f"{number:0{characters}d}"
    return {"prompt": prompt, "completion": {"text": "you rat", "offsets": [[0, 3], [3, 7]]}}


def score(client: httpx.Client, *numbers: int) -> httpx.Response:
    """Some of them judged."""
    return client.post(
        "/score/token", json={"task": "relc-toxicity", "rollouts": [rollout(one) for one in numbers]}
    )


def left(response: httpx.Response) -> dict[str, int]:
    """What ``RateLimit`` says of each quota."""
    told = (part.split(";") for part in response.headers["RateLimit"].split(", "))
    return {name.strip('"'): int(r.removeprefix("r=")) for name, r, _ in told}


def test_requests_are_counted_for_each_tenant_alone(team: Any) -> None:
    """The third of two is 429 with the time until there is room, and the neighbour has all of its own."""
    terms = {"quotas": [{"requests": 2, "per_s": LONG}]}
    team.add("atlas", **terms)
    team.add("borea", **terms)
    url = team.start()
    atlas, borea = (team.client(url, team.keys[name]) for name in ("atlas", "borea"))
    answers = [score(atlas, number) for number in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [left(answer)["requests-1000s"] for answer in answers] == [1, 0, 0]
    assert answers[0].headers["RateLimit-Policy"] == '"requests-1000s";q=2;w=1000'
    problem = answers[2].json()
    assert problem["kind"] == "over_quota"
    assert "atlas may spend 2 requests in 1000 s" in problem["detail"]
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 2 * LONG
    assert score(borea, 0).status_code == 200


def test_tokens_are_reserved_and_what_was_not_spent_is_given_back(team: Any) -> None:
    """A remembered answer costs nothing, nor does a rollout that could not be judged at all."""
    client = team.alone(quotas=[{"tokens": 100, "per_s": LONG}])
    name = "tokens-1000s"
    assert left(score(client, 1, 2))[name] == 100 - 2 * 12
    assert left(score(client, 1, 2))[name] == 100 - 2 * 12
    unaligned = {"prompt": "", "completion": {"text": "you rat", "offsets": [[0, 3], [2, 70]]}}
    answer = client.post("/score/token", json={"task": "relc-toxicity", "rollouts": [unaligned, rollout(3)]})
    assert [result["status"] for result in answer.json()["results"]] == ["failed", "ok"]
    assert left(answer)[name] == 100 - 3 * 12


def test_a_refused_call_takes_nothing_from_any_quota(team: Any) -> None:
    """The tokens do not fit, so the request is not counted either: all or nothing."""
    quotas = [{"requests": 5, "per_s": LONG}, {"tokens": 30, "per_s": LONG}]
    client = team.alone(quotas=quotas)
    assert score(client, 1, 2).status_code == 200
    refused = score(client, 3)
    assert refused.status_code == 429
    assert left(refused) == {"requests-1000s": 4, "tokens-1000s": 6}


def test_a_call_that_no_window_has_room_for_is_told_to_split(team: Any) -> None:
    """Waiting would not help: 422, and the client of ours does split."""
    client = team.alone(quotas=[{"tokens": 30, "per_s": LONG}])
    answer = score(client, 1, 2, 3)
    assert (answer.status_code, answer.json()["pointer"]) == (422, "/rollouts")
    assert "Retry-After" not in answer.headers


def test_room_comes_back_when_the_service_says(team: Any) -> None:
    """``Retry-After`` is honest: by then the call is taken."""
    client = team.alone(quotas=[{"requests": 3, "per_s": 2}])
    number = 0
    while score(client, number).status_code == 200:
        number += 1
    assert number >= 3
    refused = score(client, number)
    assert refused.status_code == 429
    time.sleep(int(refused.headers["Retry-After"]))
    assert score(client, number).status_code == 200


@pytest.mark.parametrize("told", [None, {"requests": 1000}])
def test_only_who_has_quotas_is_told_of_them(team: Any, told: Any) -> None:
    """No field without a quota."""
    client = team.alone(quotas=[told] if told else [])
    assert ("RateLimit" in score(client, 1).headers) == bool(told)
