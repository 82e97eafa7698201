"""What a tenant may do: routes, tasks, models, rollouts in flight, classes, and how long a call may take."""

import threading
import time
from typing import Any

import httpx
import pytest

from assayd.domain.caller import ITSELF, Caller, Priority, current_caller
from assayd.engines.fake import Generator

ITEM = {"prompt": "Say something.", "completion": {"text": "you rat", "offsets": [[0, 3], [3, 7]]}}


def body(*prompts: str, task: str = "relc-toxicity", **more: Any) -> dict[str, Any]:
    """A call with one rollout per prompt."""
    return {"task": task, "rollouts": [{**ITEM, "prompt": prompt} for prompt in prompts], **more}


def told(response: httpx.Response) -> tuple[int, str]:
    """Status and kind of a refusal."""
    return response.status_code, response.json()["kind"]


@pytest.mark.parametrize(
    ("terms", "allowed", "forbidden", "names"),
    [
        ({"routes": ["/score/token"]}, ("/score/token", {}), ("/score/segment", {}), "/score/segment"),
        (
            {"tasks": ["relc-toxicity"]},
            ("/score/token", {}),
            ("/score/token", {"task": "relc-sentiment"}),
            "relc-sentiment",
        ),
        ({"models": ["assay/fake"]}, ("/score/token", {}), None, ""),
        ({"models": ["another"]}, None, ("/score/token", {}), "assay/fake"),
    ],
)
def test_terms_are_held(team: Any, terms: Any, allowed: Any, forbidden: Any, names: str) -> None:
    """403 that names what is not allowed; the rest is."""
    client = team.alone(**terms)
    if allowed:
        route, said = allowed
        assert client.post(route, json={**body("a"), **said}).status_code == 200
    if forbidden:
        route, said = forbidden
        answer = client.post(route, json={**body("a"), **said})
        assert told(answer) == (403, "forbidden")
        assert names in answer.json()["detail"]


def test_one_tenant_fills_its_own_room_and_not_the_house(team: Any, slow: Any) -> None:
    """429 with Retry-After for who has enough in flight, 422 for what never fits; the neighbour is served."""
    settings, critic = slow
    team.add("atlas", max_in_flight=2)
    team.add("borea")
    url = team.start(**settings)
    atlas, borea = (team.client(url, team.keys[name]) for name in ("atlas", "borea"))
    critic.delay_s = 2.0
    busy = threading.Thread(target=lambda: atlas.post("/score/token", json=body("a", "b")))
    busy.start()
    while len(critic.prompts) < 2:
        time.sleep(0.01)
    full = atlas.post("/score/token", json=body("c"))
    never = atlas.post("/score/token", json=body("c", "d", "e"))
    critic.delay_s = 0.0
    assert told(full) == (429, "over_quota")
    assert int(full.headers["Retry-After"]) >= 1
    assert (told(never), never.json()["pointer"]) == ((422, "invalid"), "/rollouts")
    assert borea.post("/score/token", json=body("c", "d", "e")).status_code == 200
    busy.join()
    assert atlas.post("/score/token", json=body("c")).status_code == 200


def test_who_hangs_up_leaves_the_room(team: Any, slow: Any) -> None:
    """What nobody waits for any more counts for nothing: the tenant has all of its room again."""
    settings, critic = slow
    critic.delay_s = 30.0
    client = team.alone(settings, max_in_flight=2, operator=True)
    with pytest.raises(httpx.ReadTimeout):
        client.post("/score/token", json=body("a", "b"), timeout=2.0)
    give_up_at = time.monotonic() + 20
    while 'assay_rollouts_in_flight{tenant="atlas"} 0.0' not in client.get("/metrics").text:
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    critic.delay_s = 0.0
    assert client.post("/score/token", json=body("c", "d")).status_code == 200


class Watching(Generator):
    """An engine that notes whose work it was given."""

    callers: list[Caller] = []  # noqa: RUF012 - the host is opened by the service, the test looks from outside

    async def generate(self, *asked: Any, **more: Any) -> Any:
        """Answer, and note the caller."""
        self.callers.append(current_caller())
        return await super().generate(*asked, **more)


def test_the_engine_is_told_whose_work_it_is(team: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tenant, weight and class: as asked, at most the tenant's highest, which silence means too."""
    monkeypatch.setattr("assayd.engines.fake.Generator", Watching)
    team.add("atlas", weight=3.0)
    team.add("borea", priority="evaluation")
    url = team.start()
    for name, said in (("atlas", None), ("atlas", "batch"), ("borea", None), ("borea", "Training")):
        headers = {} if said is None else {"X-Assay-Priority": said}
        client = team.client(url, team.keys[name])
        answer = client.post("/score/token", json=body(f"{name} {said}"), headers=headers)
        assert answer.status_code == 200
    assert [caller for caller in Watching.callers if caller != ITSELF] == [
        Caller("atlas", 3.0, Priority.TRAINING),
        Caller("atlas", 3.0, Priority.BATCH),
        Caller("borea", 1.0, Priority.EVALUATION),
        Caller("borea", 1.0, Priority.EVALUATION),
    ]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-Assay-Priority", "urgent"),
        ("X-Assay-Timeout-S", "soon"),
        ("X-Assay-Timeout-S", "0"),
        ("X-Assay-Timeout-S", "-1"),
        ("X-Assay-Timeout-S", "nan"),
        ("X-Assay-Timeout-S", "inf"),
        ("X-Assay-Timeout-S", "3601"),
    ],
)
def test_a_header_that_says_nothing_known_is_refused(team: Any, header: str, value: str) -> None:
    """422 with the header's name; a misspelt class must not become another one in silence."""
    client = team.alone()
    answer = client.post("/score/token", json=body("a"), headers={header: value})
    assert told(answer) == (422, "invalid")
    assert header in answer.json()["detail"]


@pytest.mark.parametrize(("in_header", "in_body"), [("0.5", None), ("0.5", 30), ("30", 0.5)])
def test_the_smaller_of_two_deadlines_holds(
    team: Any, slow: Any, in_header: str, in_body: float | None
) -> None:
    """Of the header and the body; what is not judged by then says so."""
    settings, critic = slow
    critic.delay_s = 5.0
    client = team.alone(settings)
    said = {} if in_body is None else {"timeout_s": in_body}
    started = time.monotonic()
    answer = client.post("/score/token", json=body("a", **said), headers={"X-Assay-Timeout-S": in_header})
    assert answer.json()["results"][0]["failure"]["kind"] == "past_deadline"
    assert time.monotonic() - started < 4.5


def test_the_deadline_header_holds_on_foreign_routes(team: Any, slow: Any) -> None:
    """A trainer whose format has no field for it."""
    settings, critic = slow
    critic.delay_s = 5.0
    compat = {"method": "critic", "task": "relc-toxicity"}
    client = team.alone({"compat": compat, **settings})
    asked = {"prompt": "Hi", "response": "you rat"}
    answer = client.post("/remote_rm", json=asked, headers={"X-Assay-Timeout-S": "0.5"})
    assert told(answer) == (504, "past_deadline")
