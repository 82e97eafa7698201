"""Facts about one call over real sockets: both clients say the same, in parts, in time, and in order."""

import asyncio
import itertools
import math
import multiprocessing
import pickle
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

import assay
from assay.testing import FakeServer

from ..crowds import Crowd

Judge = Callable[..., assay.Answer[Any]]
TOXIC = "relc-toxicity"


def rollouts(count: int, **fields: Any) -> list[dict[str, Any]]:
    """So many rollouts of two tokens, named by their place."""
    return [{"id": f"r{at}", "completion": {"text": "you rat"}, **fields} for at in range(count)]


@pytest.fixture(params=["Client", "AsyncClient"])
def judge(request: pytest.FixtureRequest, server: FakeServer) -> Judge:
    """``judge(method, rollouts, client={...}, **asked)`` on either client, a fresh one each time."""

    def judge(
        method: str, items: Sequence[Any], *, client: dict[str, Any] | None = None, **asked: Any
    ) -> assay.Answer[Any]:
        settings = {"url": server.url, **(client or {})}
        if request.param == "Client":
            with assay.Client(**settings) as one:
                return getattr(one, method)(items, **asked)  # type: ignore[no-any-return]

        async def ask() -> assay.Answer[Any]:
            async with assay.AsyncClient(**settings) as other:
                return await getattr(other, method)(items, **asked)  # type: ignore[no-any-return]

        return asyncio.run(ask())

    return judge


def ids(answer: assay.Answer[Any]) -> list[str]:
    """The results' ids, in order."""
    return [result.id for result in answer.results]


def test_a_large_call_is_made_in_parts_and_comes_back_in_order(server: FakeServer, judge: Judge) -> None:
    """At most so many rollouts a request; one result per rollout, each with its own numbers."""
    server.reward = lambda rollout, tokens: [float(rollout["id"][1:])] * tokens
    answer = judge("score_token", rollouts(23), task=TOXIC, client={"limits": assay.Limits(max_rollouts=5)})
    assert [len(one.body["rollouts"]) for one in server.received].count(5) == 4
    assert len(server.received) == 5
    assert ids(answer) == [f"r{at}" for at in range(23)]
    assert [result.rewards[0] for result in answer.results] == [float(at) for at in range(23)]


def test_parts_are_bounded_by_bytes_too(server: FakeServer, judge: Judge) -> None:
    """No request is larger than it may be, unless one rollout alone is."""
    items = [
        {"id": str(at), "completion": {"text": "a " * size}} for at, size in enumerate((400, 400, 5000, 10))
    ]
    answer = judge("score_segment", items, client={"limits": assay.Limits(max_bytes=2000)})
    sizes = sorted(int(one.headers["content-length"]) for one in server.received)
    assert len(sizes) == 3
    assert sizes[-2] < 2300
    assert ids(answer) == ["0", "1", "2", "3"]


def test_no_more_requests_are_in_flight_than_connections_are_allowed(
    server: FakeServer, judge: Judge
) -> None:
    """The cap holds over all parts of a call."""
    crowd = Crowd()

    def reward(rollout: Any, tokens: int) -> list[float]:
        with crowd:
            time.sleep(0.02)
        return [0.0] * tokens

    server.reward = reward
    limits = assay.Limits(max_connections=3, max_rollouts=1)
    judge("score_token", rollouts(20), task=TOXIC, client={"limits": limits})
    assert crowd.most == 3


def test_rollouts_without_ids_are_named_by_their_place_in_the_call(judge: Judge) -> None:
    """And not by their place in a part of it."""
    items = [{"completion": {"text": "x"}} for _ in range(5)]
    answer = judge("score_token", items, task=TOXIC, client={"limits": assay.Limits(max_rollouts=2)})
    assert ids(answer) == ["0", "1", "2", "3", "4"]


def test_one_bad_rollout_costs_no_other(server: FakeServer, judge: Judge) -> None:
    """NaN, half a character, a foreign object, a shape that the service refuses, a failure: each fails alone."""
    server.fail("r1", "unparseable", "the critic rambled")
    items = [
        *rollouts(2),
        {"id": "nan", "completion": {"text": "x"}, "extrinsic_reward": math.nan},
        {"id": "half", "completion": {"text": "\ud83d"}},
        {"id": "odd", "completion": {"text": "x"}, "reference": object()},
        {"id": "shapeless", "prompt": "p"},
        {"id": "last", "completion": {"text": "fine"}},
    ]
    answer = judge("score_token", items, task=TOXIC)
    assert ids(answer) == ["r0", "r1", "nan", "half", "odd", "shapeless", "last"]
    kinds = [result.kind if isinstance(result, assay.Failed) else "ok" for result in answer.results]
    assert kinds == ["ok", "unparseable", "invalid", "invalid", "invalid", "invalid", "ok"]
    assert "completion: Field required" in answer.results[5].detail
    with pytest.raises(
        assay.RolloutFailed, match="'r1' was not judged, unparseable: the critic rambled"
    ) as error:
        judge("score_token", items, task=TOXIC, raise_on_failure=True)
    assert isinstance(error.value.failed, assay.Failed)


def test_a_method_that_nobody_has_goes_to_the_service(server: FakeServer) -> None:
    """And is refused there: it is not judged by the critic in silence."""
    unknown: Any = "crtic"
    with server.client() as client:
        client.score_token(rollouts(1), task=TOXIC, method=unknown)
    assert server.received[0].body["method"] == "crtic"


def test_arrays_become_lists(server: FakeServer, judge: Judge) -> None:
    """Ids as trainers have them, in tensors and arrays, need no conversion."""

    class Tensor:
        def __len__(self) -> int:
            return 3

        def tolist(self) -> list[int]:
            return [5, 6, 7]

    judge("score_token", [{"completion": {"token_ids": Tensor()}}], task=TOXIC, tokenizer={"name": "t"})
    assert server.rollouts[0]["completion"] == {"token_ids": [5, 6, 7]}


def test_a_service_with_smaller_limits_gets_smaller_requests(server: FakeServer, judge: Judge) -> None:
    """Too many rollouts or bytes for the service are halved until they fit; one that never fits fails alone."""
    server.max_rollouts, server.max_bytes = 3, 3000
    items = [*rollouts(10), {"id": "huge", "completion": {"text": "a" * 4000}}]
    answer = judge("score_token", items, task=TOXIC)
    assert ids(answer)[-1] == "huge"
    assert [result.kind for result in answer.results if isinstance(result, assay.Failed)] == ["too_long"]


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(server: FakeServer, judge: Judge, status: int) -> None:
    """A refusal that says when to come again is waited for, and not shorter."""
    server.refuse(status, retry_after_s=0.3, times=2)
    answer = judge("score_token", rollouts(1), task=TOXIC)
    assert isinstance(answer.results[0], assay.Scored)
    times = [one.at_s for one in server.received]
    assert [later - earlier >= 0.3 for earlier, later in itertools.pairwise(times)] == [True, True]


def test_nobody_waits_beyond_the_deadline(server: FakeServer, judge: Judge) -> None:
    """Where Retry-After is later than the deadline, the refusal is told at once."""
    server.refuse(503, "engine", retry_after_s=30)
    began_s = time.monotonic()
    with pytest.raises(assay.CallRejected) as refused:
        judge("score_token", rollouts(1), task=TOXIC, timeout_s=5)
    assert time.monotonic() - began_s < 2
    assert (refused.value.status, refused.value.kind, refused.value.retry_after_s) == (503, "engine", 30)


def test_a_refusal_that_names_no_time_is_not_tried_again(server: FakeServer, judge: Judge) -> None:
    """The service says when waiting helps; a proxy in front of it does not, and is asked again."""
    server.refuse(503, "engine")
    with pytest.raises(assay.CallRejected):
        judge("score_token", rollouts(1), task=TOXIC)
    assert len(server.received) == 1
    server.refuse(502, body=b"<html>Bad Gateway</html>", times=2)
    assert isinstance(judge("score_token", rollouts(1), task=TOXIC).results[0], assay.Scored)
    assert len(server.received) == 4


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, "unauthenticated"), (422, "invalid"), (500, "internal"), (504, "past_deadline")],
)
def test_other_refusals_are_never_tried_again(
    server: FakeServer, judge: Judge, status: int, kind: str
) -> None:
    """They would be the same."""
    server.refuse(status, kind)
    with pytest.raises(assay.CallRejected) as refused:
        judge("score_token", rollouts(1), task=TOXIC)
    assert (refused.value.status, refused.value.kind) == (status, kind)
    assert len(server.received) == 1


def test_a_broken_connection_is_tried_again(server: FakeServer, judge: Judge) -> None:
    """Judging is the same twice, so an answer that was lost is asked for again."""
    server.drop(2)
    assert isinstance(judge("score_token", rollouts(1), task=TOXIC).results[0], assay.Scored)
    assert len(server.received) == 3


def test_a_service_that_never_answered_is_given_up_soon(judge: Judge) -> None:
    """A wrong address is told in a second or two, not after the whole deadline."""
    began_s = time.monotonic()
    with pytest.raises(assay.ServiceUnreachable, match="assay check"):
        judge("score_token", rollouts(1), task=TOXIC, client={"url": "http://127.0.0.1:9"}, timeout_s=60)
    assert time.monotonic() - began_s < 5


def test_a_service_that_restarts_is_waited_for(server: FakeServer) -> None:
    """One that answered before gets the whole deadline to come back."""
    with server.client() as client:
        client.score_token(rollouts(1), task=TOXIC)
        server.stop()
        threading.Timer(1.5, server.start).start()
        answer = client.score_token(rollouts(2), task=TOXIC, timeout_s=20)
    assert [type(result) for result in answer.results] == [assay.Scored] * 2


@pytest.mark.parametrize("stall", ["silent", "trickle", "deaf"])
def test_nothing_outlives_the_deadline(server: FakeServer, judge: Judge, stall: str) -> None:
    """A service that says nothing, or a byte now and then, or takes no connection, holds nobody up."""
    server.delay_s = 30.0 if stall == "silent" else 0.0
    server.trickle_s = 0.05 if stall == "trickle" else 0.0
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}" if stall == "deaf" else server.url
        began_s = time.monotonic()
        with pytest.raises(assay.DeadlinePassed, match=r"within 0\.5 s"):
            judge("score_token", rollouts(1), task=TOXIC, timeout_s=0.5, client={"url": url})
        assert 0.4 < time.monotonic() - began_s < 5.0


def test_the_service_is_told_a_little_less_time_than_there_is(server: FakeServer, judge: Judge) -> None:
    """What it has finished by then still has to travel."""
    judge("score_token", rollouts(1), task=TOXIC, timeout_s=10)
    judge("score_token", rollouts(1), task=TOXIC, timeout_s=100_000)
    told = [one.body["timeout_s"] for one in server.received]
    assert 8.5 < told[0] <= 9.0
    assert told[1] == 3600.0


def test_a_refused_call_fails_its_rollouts_where_that_is_asked_for(server: FakeServer, judge: Judge) -> None:
    """A training step goes on: every rollout is there, with the kind, and no recipe is invented."""
    server.refuse(503, "engine")
    answer = judge("score_segment", rollouts(3), on_refusal="fail")
    assert [(result.id, result.kind) for result in answer.results] == [
        (f"r{at}", "engine") for at in range(3)
    ]
    assert answer.recipe == {}
    server.delay_s = 30
    late = judge("score_segment", rollouts(2), on_refusal="fail", timeout_s=0.3)
    assert [result.kind for result in late.results] == ["past_deadline"] * 2
    away = judge("score_segment", rollouts(1), on_refusal="fail", client={"url": "http://127.0.0.1:9"})
    assert [result.kind for result in away.results] == ["unreachable"]


def test_what_other_parts_answered_is_kept(server: FakeServer, judge: Judge) -> None:
    """A part that is refused fails alone."""
    server.refuse(503, "engine")
    limits = assay.Limits(max_rollouts=2, max_connections=1)
    answer = judge("score_token", rollouts(6), task=TOXIC, on_refusal="fail", client={"limits": limits})
    assert ids(answer) == [f"r{at}" for at in range(6)]
    assert [isinstance(result, assay.Failed) for result in answer.results].count(True) == 2
    assert answer.recipe["id"].startswith("sha256:")


def test_a_pinned_recipe_stops_what_would_be_judged_otherwise(server: FakeServer, judge: Judge) -> None:
    """The pin travels as If-Reward-Match; a change is raised, also where refusals make failures."""
    recipe = judge("score_token", rollouts(1), task=TOXIC).recipe["id"]
    judge("score_token", rollouts(1), task=TOXIC, reward_match=recipe)
    assert server.received[-1].headers["if-reward-match"] == recipe
    server.version = "another"
    for on_refusal in ("raise", "fail"):
        with pytest.raises(assay.RecipeChanged, match="the call pins"):
            judge("score_token", rollouts(1), task=TOXIC, reward_match=recipe, on_refusal=on_refusal)


@pytest.mark.parametrize("on_refusal", ["raise", "fail"])
def test_parts_judged_by_different_recipes_are_never_mixed(
    server: FakeServer, judge: Judge, on_refusal: str
) -> None:
    """A service that changes in the middle of a call is found out."""

    def reward(rollout: Any, tokens: int) -> list[float]:
        server.version = rollout["id"]
        return [0.0] * tokens

    server.reward = reward
    limits = assay.Limits(max_rollouts=1, max_connections=1)
    with pytest.raises(assay.RecipeDrift, match="while the call was under way"):
        judge("score_token", rollouts(3), task=TOXIC, client={"limits": limits}, on_refusal=on_refusal)


def test_what_is_no_answer_is_said_so(server: FakeServer, judge: Judge) -> None:
    """A page, another shape, a count that is off, an answer without end: none of them becomes a reward."""
    server.refuse(200, body=b"<html>Welcome to nginx</html>")
    with pytest.raises(assay.AnswerUnreadable, match="is the URL right"):
        judge("score_token", rollouts(1), task=TOXIC)
    server.refuse(200, body=b'{"results": [], "recipe": {"id": "x"}}')
    with pytest.raises(assay.AnswerUnreadable, match="0 results for 1 rollouts"):
        judge("score_token", rollouts(1), task=TOXIC)
    server.refuse(200, body=b'{"results": [{"id": "r0", "rewards": [NaN]}], "recipe": {"id": "x"}}')
    with pytest.raises(assay.AnswerUnreadable):
        judge("score_token", rollouts(1), task=TOXIC)
    server.refuse(200, body=b'{"results": [{"id": "a", "rewards": [0.5]}], "recipe": {"id": "x"}}')
    with pytest.raises(assay.AnswerUnreadable, match="1 rewards for the 2 tokens of rollout 'a'"):
        judge("score_token", [{"id": "a", "completion": {"token_ids": [1, 2]}}], task=TOXIC)
    with pytest.raises(assay.AnswerUnreadable, match="more than 100 bytes"):
        judge("score_token", rollouts(1), task=TOXIC, client={"limits": assay.Limits(max_answer_bytes=100)})


def test_the_environment_says_where_and_who(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """URL, key and time come from the environment; what is said in code counts more; the key shows nowhere."""
    server.api_key = "secret"
    monkeypatch.setenv("ASSAY_URL", server.url + "/")
    monkeypatch.setenv("ASSAY_API_KEY", "secret\n")
    monkeypatch.setenv("ASSAY_TIMEOUT_S", "7")
    with assay.Client() as client:
        client.score_token(rollouts(1), task=TOXIC)
        assert client.timeout_s == 7
        assert "secret" not in repr(vars(client))
    assert server.received[-1].headers["authorization"] == "Bearer secret"
    assert server.received[-1].body["timeout_s"] < 7
    with assay.Client(api_key="other") as client, pytest.raises(assay.CallRejected, match="unauthenticated"):
        client.score_token(rollouts(1), task=TOXIC)
    monkeypatch.setenv("ASSAY_TIMEOUT_S", "soon")
    with pytest.raises(ValueError, match="ASSAY_TIMEOUT_S is 'soon'"):
        assay.Client()


def test_a_client_of_httpx_may_be_brought_along(server: FakeServer) -> None:
    """It is called with, it says where the service is, and it stays open."""
    with httpx.Client(base_url=server.url, headers={"X-Team": "rl"}) as http:
        with assay.Client(http=http) as client:
            client.score_token(rollouts(1), task=TOXIC)
        assert server.received[0].headers["x-team"] == "rl"
        assert http.get("/healthz").is_success
    transport = httpx.MockTransport(lambda request: httpx.Response(401, json={"kind": "unauthenticated"}))
    with assay.Client(http=httpx.Client(transport=transport)) as client, pytest.raises(assay.CallRejected):
        client.score_token(rollouts(1), task=TOXIC)


def test_what_a_call_cannot_say_is_told_before_anything_is_sent(server: FakeServer, judge: Judge) -> None:
    """Times that are none, an unknown word, an address that is none."""
    for timeout_s in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="timeout_s"):
            judge("score_token", rollouts(1), task=TOXIC, timeout_s=timeout_s)
    with pytest.raises(ValueError, match="on_refusal"):
        judge("score_token", rollouts(1), task=TOXIC, on_refusal="zero")
    with pytest.raises(TypeError, match="no call takes timeout"):
        judge("score_token", rollouts(1), task=TOXIC, timeout=3)
    with pytest.raises(ValueError, match="write http://HOST:PORT"):
        judge("score_token", rollouts(1), task=TOXIC, client={"url": "localhost:8000"})
    assert server.received == []


def test_a_closed_client_says_so(server: FakeServer) -> None:
    """Instead of waiting for nobody."""
    client = server.client()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.score_token(rollouts(1), task=TOXIC)


def test_one_client_serves_several_event_loops(server: FakeServer) -> None:
    """Trainers begin a loop per step: connections of an earlier one are not used again."""
    client = server.async_client()

    async def ask() -> str:
        answer = await client.score_token(rollouts(2), task=TOXIC)
        await client._here().http.aclose()  # so that nothing of this loop is left open
        return ids(answer)[1]

    assert [asyncio.run(ask()) for _ in range(3)] == ["r1"] * 3


def test_every_error_survives_its_way_between_processes() -> None:
    """Ray and multiprocessing pickle what a worker raises."""
    errors = [
        assay.CallRejected(503, "engine", "down", pointer="/task", retry_after_s=2.0),
        assay.RecipeChanged(412, "invalid", "changed"),
        assay.RolloutFailed("a", "empty", "no tokens"),
        assay.DeadlinePassed("late"),
        assay.Unaligned("odd"),
    ]
    for error in errors:
        twin = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        assert (type(twin), str(twin), vars(twin)) == (type(error), str(error), vars(error))


def _ask_in_a_child(client: assay.Client, outcome: Any) -> None:
    outcome.put(ids(client.score_token(rollouts(3), task=TOXIC, timeout_s=20)))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_can_use_the_client_it_inherited(server: FakeServer) -> None:
    """It has neither the threads nor the connections of its parent, and must not wait for them."""
    forking = multiprocessing.get_context("fork")
    with server.client() as client:
        client.score_token(rollouts(1), task=TOXIC)
        outcome = forking.Queue()
        child = forking.Process(target=_ask_in_a_child, args=(client, outcome))
        child.start()
        assert outcome.get(timeout=30) == ["r0", "r1", "r2"]
        child.join(timeout=10)
        assert ids(client.score_token(rollouts(2), task=TOXIC)) == ["r0", "r1"]


def test_many_threads_share_one_client(server: FakeServer) -> None:
    """Two hundred callers at once, each with its own answer, over as many connections as are allowed."""
    server.reward = lambda rollout, tokens: [float(rollout["id"])] * tokens
    with server.client() as client, ThreadPoolExecutor(200) as threads:

        def ask(at: int) -> float:
            (result,) = client.score_token([{"id": str(at), "completion": {"text": "x"}}], task=TOXIC).results
            assert isinstance(result, assay.Scored)
            return result.rewards[0]

        assert [*threads.map(ask, range(400))] == [float(at) for at in range(400)]


def test_clients_travel_to_other_processes(server: FakeServer) -> None:
    """Trainers pickle what a worker is to use: clients, coalescers and policies arrive ready, without counts."""
    server.api_key = "secret"
    policy = assay.FailurePolicy("scalar", timeout_s=9)
    policy.settle([assay.Failed("a", "engine", "down", {})])
    with server.client(timeout_s=7, limits=assay.Limits(max_rollouts=2)) as client:
        one, other, gathering, rules = pickle.loads(  # noqa: S301 - our own
            pickle.dumps((client, server.async_client(), assay.Coalescer(client, max_rollouts=3), policy))
        )
        with one:
            assert ids(one.score_token(rollouts(3), task=TOXIC)) == ["r0", "r1", "r2"]
            assert (one.timeout_s, len(server.received)) == (7, 2)
            assert isinstance(gathering.score_token(rollouts(1)[0], task=TOXIC), assay.Scored)
            gathering._client.close()
        assert other.url == server.url
        assert (rules.on_failure, rules.timeout_s, rules.totals) == ("scalar", 9, {})
    with httpx.Client() as http, pytest.raises(TypeError, match="http of its own"):
        pickle.dumps(assay.Client(http=http))


def test_a_service_that_blames_rollouts_that_were_not_sent_is_refused(
    server: FakeServer, judge: Judge
) -> None:
    """A pointer to nowhere is an error of the call, not asked for ever."""
    told = b'{"kind": "invalid", "detail": "odd", "pointer": "/rollouts/7/completion"}'
    server.refuse(422, body=told, times=1)
    with pytest.raises(assay.CallRejected, match="odd"):
        judge("score_token", rollouts(1), task=TOXIC)
    with pytest.raises(ValueError, match="no header takes"):
        assay.Client(api_key="clé")
