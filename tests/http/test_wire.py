"""The wire: what is refused and how, what is answered item by item, what is remembered."""

import json
import threading
import time
from typing import Any

import httpx
import pytest

ITEM = {"completion": {"text": "you rat", "offsets": [[0, 3], [3, 7]]}}


def body(*rollouts: Any, **fields: Any) -> dict[str, Any]:
    """A request on the toxicity task."""
    return {"task": "relc-toxicity", "rollouts": list(rollouts), **fields}


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem details of a refused call."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    details: dict[str, Any] = response.json()
    assert details["status"] == status
    return details


@pytest.mark.parametrize(
    ("request_body", "pointer"),
    [
        (body(ITEM, colour="red"), "/colour"),
        (body(ITEM, options={"negativ_reward": 1}), "/options/negativ_reward"),
        (body({**ITEM, "extrinsic_reward": "0.5"}), "/rollouts/0/extrinsic_reward"),
        (body(ITEM, {"completion": {"token_ids": [1, "2"]}}), "/rollouts/1/completion/token_ids/1"),
        (body(), "/rollouts"),
        (body(ITEM, timeout_s=0), "/timeout_s"),
        ({"task": "poetry", "rollouts": [ITEM]}, "/task"),
        (body({"completion": {"text": "x", "token_ids": [True]}}), "/rollouts/0/completion/token_ids/0"),
    ],
)
def test_a_malformed_request_names_its_field(service: httpx.Client, request_body: Any, pointer: str) -> None:
    """Unknown fields, wrong types and empty lists are refused with kind and pointer."""
    details = problem(service.post("/score/token", json=request_body), 422)
    assert (details["kind"], details["pointer"]) == ("invalid", pointer)


@pytest.mark.parametrize(
    ("request_body", "detail"),
    [
        (
            {"task": "relc-toxicity", "rollout": [ITEM], "rollouts": [ITEM]},
            "/rollout: there is no field `rollout` here: did you mean `rollouts`?",
        ),
        (
            body(ITEM, options={"negativ_reward": 1}),
            "/options/negativ_reward: there is no field `negativ_reward` here: did you mean `negative_reward`?",
        ),
        (
            body(ITEM, threshold=0.5),
            "/threshold: there is no field `threshold` here: it belongs into `options`",
        ),
        (
            body({**ITEM, "task": "relc-toxicity"}),
            "/rollouts/0/task: there is no field `task` here: it belongs beside `rollouts`",
        ),
        (
            body({"completion": {"text": "x", "zzz": 1}}),
            "/rollouts/0/completion/zzz: there is no field `zzz` here: "
            "it takes `text`, `token_ids`, `offsets`, `truncated`",
        ),
        (
            body({"completion": "you rat"}),
            "/rollouts/0/completion: should be an object, with `text`, `token_ids`, `offsets`, `truncated`",
        ),
        ({"rollouts": [ITEM]}, "/task: `task` is missing"),
        (body(ITEM, method="crtic"), "there is no method 'crtic' on this route: one of critic, grm"),
    ],
)
def test_a_first_mistake_is_told_what_to_write(service: httpx.Client, request_body: Any, detail: str) -> None:
    """The words are for whoever wrote the request, and what follows from a fault is not called another one."""
    details = problem(service.post("/score/token", json=request_body), 422)
    assert details["detail"] == detail
    assert len(details.get("errors") or [detail]) == 1


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(service: httpx.Client, number: str) -> None:
    """NaN and infinity never come in."""
    text = json.dumps(body({**ITEM, "extrinsic_reward": 12345})).replace("12345", number)
    response = service.post("/score/token", content=text)
    assert response.status_code in (400, 422)
    assert response.json()["kind"] == "invalid"


def test_what_is_not_json_is_refused(service: httpx.Client) -> None:
    """Malformed JSON is 400, not 500."""
    assert problem(service.post("/score/token", content=b'{"task": '), 400)["kind"] == "invalid"


def test_an_unknown_route_is_a_problem_too(service: httpx.Client) -> None:
    """Every error has the same shape."""
    assert "/docs" in problem(service.get("/score/tokens"), 404)["detail"]
    assert "POST" in problem(service.get("/score/token"), 405)["detail"]


def test_one_bad_item_fails_alone(service: httpx.Client, critic: Any) -> None:
    """Unaligned and empty rollouts say so, in order, and their neighbours are judged."""
    critic.reply = "Toxic Span 1: rat"
    unaligned = {"id": "u", "completion": {"text": "you rat", "offsets": [[0, 3], [3, 9]]}}
    empty = {"id": "e", "completion": {"text": "", "offsets": []}}
    response = service.post("/score/token", json=body(unaligned, {"id": "good", **ITEM}, empty))
    assert response.status_code == 200
    first, second, third = response.json()["results"]
    assert (first["id"], first["failure"]["kind"]) == ("u", "unaligned")
    assert (second["id"], second["rewards"]) == ("good", [0.0, -0.5])
    assert (third["id"], third["failure"]["kind"], third["rewards"]) == ("e", "empty", [])


def test_the_second_pass_comes_from_the_cache(service: httpx.Client, critic: Any) -> None:
    """The same rollout and recipe are judged once; the answer says that it was remembered."""
    critic.reply = "Toxic Span 1: rat"
    request = body({**ITEM, "prompt": "cached"})
    first = service.post("/score/token", json=request).json()
    second = service.post("/score/token", json=request).json()
    assert len(critic.prompts) == 1
    assert [r["results"][0]["provenance"]["cached"] for r in (first, second)] == [False, True]
    assert first["results"][0]["rewards"] == second["results"][0]["rewards"]
    assert first["recipe"] == second["recipe"]


def test_identical_rollouts_in_one_call_share_one_critique(service: httpx.Client, critic: Any) -> None:
    """Identical work is done once, also while it is under way, and every copy is answered."""
    critic.delay_s = 0.2
    request = body(*({**ITEM, "id": str(n), "prompt": "shared"} for n in range(5)))
    results = service.post("/score/token", json=request).json()["results"]
    assert [result["id"] for result in results] == ["0", "1", "2", "3", "4"]
    assert len(critic.prompts) == 1


def test_failures_are_not_remembered(service: httpx.Client, critic: Any) -> None:
    """A critic that recovers is asked again."""
    request = body({**ITEM, "prompt": "flaky"})
    critic.reply = "I would rather not."
    assert service.post("/score/token", json=request).json()["results"][0]["status"] == "failed"
    critic.reply = "None identified"
    assert service.post("/score/token", json=request).json()["results"][0]["status"] == "ok"


def test_zeros_that_stand_in_for_a_failed_critic_are_not_remembered(
    service: httpx.Client, critic: Any
) -> None:
    """Compat forgives a critic that said nothing, but asks it again the next time."""
    request = body({**ITEM, "prompt": "outage"}, mode="compat")
    critic.reply = None
    assert service.post("/score/token", json=request).json()["results"][0]["rewards"] == [0.0, 0.0]
    critic.reply = "Toxic Span 1: you rat"
    assert service.post("/score/token", json=request).json()["results"][0]["rewards"] == [-0.5, -0.5]


def test_unseeded_sampling_is_not_remembered_and_seeded_is(service: httpx.Client, critic: Any) -> None:
    """Two samples are two answers, unless a seed makes them the same."""
    for options, calls in (({"temperature": 0.7}, 2), ({"temperature": 0.7, "seed": 3}, 1)):
        critic.prompts.clear()
        request = body({**ITEM, "prompt": f"sampled {options}"}, options=options)
        for _ in range(2):
            service.post("/score/token", json=request)
        assert len(critic.prompts) == calls


def test_the_deadline_fails_only_what_is_late(service: httpx.Client, critic: Any) -> None:
    """At the deadline what is finished is returned and the rest is past_deadline."""
    quick = {**ITEM, "prompt": "quick"}
    service.post("/score/token", json=body(quick))
    critic.delay_s = 5.0
    response = service.post("/score/token", json=body(quick, {**ITEM, "prompt": "slow"}, timeout_s=1.5))
    first, second = response.json()["results"]
    assert first["status"] == "ok"
    assert second["failure"]["kind"] == "past_deadline"


def test_a_pinned_recipe_is_held(service: httpx.Client) -> None:
    """``If-Reward-Match`` answers 412 instead of judging by another recipe."""
    recipe = service.post("/score/token", json=body(ITEM)).json()["recipe"]["id"]
    assert (
        service.post("/score/token", json=body(ITEM), headers={"If-Reward-Match": recipe}).status_code == 200
    )
    other = body(ITEM, options={"negative_reward": -0.75})
    problem(service.post("/score/token", json=other, headers={"If-Reward-Match": recipe}), 412)


def test_the_recipe_moves_with_the_options_and_not_with_the_rollout(service: httpx.Client) -> None:
    """The recipe is the identity of the reward."""

    def recipe(item: Any, **fields: Any) -> str:
        answer: str = service.post("/score/token", json=body(item, **fields)).json()["recipe"]["id"]
        return answer

    base = recipe(ITEM)
    assert recipe({**ITEM, "prompt": "another"}) == base
    assert recipe(ITEM, mode="compat") != base
    assert recipe(ITEM, options={"negative_reward": -1.0}) != base


def test_two_callers_share_one_critique_and_one_may_leave(service: httpx.Client, critic: Any) -> None:
    """A caller that hangs up does not take the work away from another that waits for it."""
    critic.delay_s = 4.0
    request = body({**ITEM, "prompt": "two callers"})
    patient: list[httpx.Response] = []
    impatient = threading.Thread(target=lambda: _give_up(service, request))
    impatient.start()
    while not critic.prompts:
        time.sleep(0.01)
    waiting = threading.Thread(target=lambda: patient.append(service.post("/score/token", json=request)))
    waiting.start()
    impatient.join()
    waiting.join()
    assert patient[0].json()["results"][0]["status"] == "ok"
    assert len(critic.prompts) == 1


def _give_up(service: httpx.Client, request: Any) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{service.base_url}/score/token", json=request, timeout=2.0)


def test_operations(service: httpx.Client) -> None:
    """Alive, ready, measured and described."""
    service.post("/score/token", json=body(ITEM))
    assert service.get("/healthz").json() == {"status": "ok"}
    assert service.get("/readyz").json()["status"] == "ok"
    metrics = service.get("/metrics").text
    for name in ("assay_requests_total", "assay_request_duration_seconds_bucket", "assay_rollouts_total"):
        assert name in metrics
    info = service.get("/info").json()
    assert info["models"]["critic"]["name"] == "scripted"
    assert {prompt["task"] for prompt in info["prompts"]} >= {"relc-toxicity", "math-steps"}
    assert service.get("/docs").status_code == 200


def test_a_request_keeps_its_id(service: httpx.Client) -> None:
    """The caller's request id comes back, or a new one does."""
    assert service.get("/healthz", headers={"X-Request-ID": "abc"}).headers["X-Request-ID"] == "abc"
    assert service.get("/healthz").headers["X-Request-ID"]
