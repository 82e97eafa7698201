"""The fake service cannot drift from the real one: its answers are held to the pinned contract, field by field."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import assay
from assay.testing import ROUTES, FakeServer

CONTRACT = json.loads(Path(__file__).with_name("openapi.json").read_text(encoding="utf-8"))
ROLLOUTS: list[dict[str, Any]] = [
    {"id": "ids", "completion": {"token_ids": [3, 4, 5]}},
    {"id": "both", "completion": {"token_ids": [3, 4], "text": "you rat"}, "value": 0.5},
    {
        "id": "offsets",
        "completion": {"text": "you rat", "offsets": [[0, 3], [3, 7]]},
        "extrinsic_reward": 1.0,
    },
    {"completion": {"text": "words alone, four"}, "reference": "other words", "correct": True, "value": -2.0},
    {"id": "fails", "completion": {"text": "x"}},
    {"id": "empty", "completion": {"text": ""}},
]


def faults(schema: dict[str, Any], value: Any, at: str = "") -> Iterator[str]:
    """Where ``value`` does not fit ``schema``; a field that the schema does not know is a fault too."""
    if "$ref" in schema:
        yield from faults(CONTRACT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], value, at)
        return
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            tried = [list(faults(option, value, at)) for option in schema[choice]]
            if all(tried):
                yield from min(tried, key=len)
            return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"
    types = {
        "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool,
        "null": type(None),
    }  # fmt: skip
    kind = schema.get("type")
    if kind is not None and (
        not isinstance(value, types[kind]) or (isinstance(value, bool) and kind != "boolean")
    ):
        yield f"{at}: {value!r} is no {kind}"
        return
    if isinstance(value, dict):
        known, other = (
            schema.get("properties", {}),
            schema.get("additionalProperties", not schema.get("properties")),
        )
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{at}/{name} is missing"
        for name, item in value.items():
            if name in known or isinstance(other, dict):
                yield from faults(known.get(name, other), item, f"{at}/{name}")
            elif not other:
                yield f"{at}/{name} is not known"
    if isinstance(value, list):
        firsts = schema.get("prefixItems", [])
        if len(value) < schema.get("minItems", 0) or len(value) > schema.get("maxItems", len(value)):
            yield f"{at}: {len(value)} items"
        for index, item in enumerate(value):
            rest = schema.get("items")
            shape = firsts[index] if index < len(firsts) else rest if isinstance(rest, dict) else {}
            yield from faults(shape, item, f"{at}/{index}")


def shape_of(path: str, status: int) -> dict[str, Any]:
    """The contract's schema of an answer."""
    (media,) = CONTRACT["paths"][path]["post"]["responses"][str(status)]["content"].values()
    schema: dict[str, Any] = media["schema"]
    return schema


def test_the_checker_finds_faults() -> None:
    """It is no rubber stamp: what is missing, unknown, or of another type is named."""
    schema = shape_of("/score/segment", 200)
    with FakeServer() as server:
        good = httpx.post(f"{server.url}/score/segment", json={"rollouts": ROLLOUTS[2:3]}).json()
    assert list(faults(schema, good)) == []
    assert any("recipe" in fault for fault in faults(schema, {"results": good["results"]}))
    for change in ({"rewards": ["0.0"]}, {"surprise": 1}, {"segments": [{}]}, {"offsets": [[1]]}):
        assert list(faults(schema, {**good, "results": [{**good["results"][0], **change}]})), change


@pytest.mark.parametrize("method", [None, "grm"])
@pytest.mark.parametrize("path", ROUTES)
def test_answers_have_the_shapes_of_the_service(path: str, method: str | None) -> None:
    """Every route, judged and failed rollouts, in each way to send a completion."""
    body: dict[str, Any] = {"rollouts": ROLLOUTS, "tokenizer": {"name": "t"}, "options": {}}
    if path == "/score/token":
        body |= {"task": "relc-toxicity"} if method is None else {"method": method}
    with FakeServer(reward=-0.5) as server:
        server.fail("fails")
        response = httpx.post(server.url + path, json=body)
    assert response.status_code == 200
    answer = response.json()
    assert list(faults(shape_of(path, 200), answer)) == []
    assert [result["status"] for result in answer["results"]] == ["ok"] * 4 + ["failed"] * 2


@pytest.mark.parametrize("path", ROUTES)
def test_refusals_have_the_shapes_of_the_service(path: str) -> None:
    """Planned ones and those for a request that says nothing, a pin, a size."""
    with FakeServer() as server, httpx.Client(base_url=server.url) as http:
        server.refuse(503, "engine", retry_after_s=2)
        server.max_bytes = 2000
        good = {"rollouts": ROLLOUTS[:1], "task": "relc-toxicity"}
        refused = [
            http.post(path, json=good),
            http.post(path, json={"rollouts": []}),
            http.post(path, json=good, headers={"If-Reward-Match": "sha256:0"}),
            http.post(path, json={**good, "rollouts": [{"completion": {"text": "x" * 3000}}]}),
        ]
        assert [response.status_code for response in refused] == [503, 422, 412, 413]
        assert refused[0].headers["Retry-After"] == "2"
        for response in refused:
            assert response.headers["content-type"] == "application/problem+json"
            assert list(faults(shape_of(path, response.status_code), response.json())) == []


def test_other_routes_answer_like_those_of_the_service(service: httpx.Client) -> None:
    """Alive, ready, models: the same fields at the top."""
    with FakeServer() as server, httpx.Client(base_url=server.url) as fake:
        for path in ("/healthz", "/readyz"):
            assert set(fake.get(path).json()) == set(service.get(path).json())
        assert set(fake.get("/info").json()) <= set(service.get("/info").json())
        assert set(fake.get("/info").json()["limits"]) == set(service.get("/info").json()["limits"])
        assert fake.get("/nothing").status_code == service.get("/nothing").status_code == 404


def test_numbers_come_as_the_service_would_give_them() -> None:
    """Per id, per function, the extrinsic reward on the last token; a sequence is worth the sum."""
    with FakeServer() as server, server.client() as client:
        server.reward = {"offsets": [0.25, -0.5]}
        scored, other = client.score_token([ROLLOUTS[2], ROLLOUTS[0]], task="remarks").results
        assert isinstance(scored, assay.Scored)
        assert (scored.rewards, scored.intrinsic) == ((0.25, 0.5), (0.25, -0.5))
        assert [span.text for span in scored.spans] == ["you", " rat"]
        assert isinstance(other, assay.Scored)
        assert other.rewards == (0.0, 0.0, 0.0)
        server.reward = lambda rollout, tokens: [1.0 / tokens] * tokens
        (worth,) = client.score_sequence(ROLLOUTS[1:2]).results
        assert isinstance(worth, assay.SequenceScored)
        assert (worth.reward, worth.advantage, worth.keep, worth.sampling_weight) == (1.0, 0.5, True, 1.0)


def test_a_call_in_parts_is_answered_by_the_service_as_if_it_were_one(service: httpx.Client) -> None:
    """Sequence rewards compare rollouts with each other: groups stay together, shares and counts are the call's."""
    items = [
        {
            "id": f"r{at}",
            "prompt": f"p{at % 5}",
            "completion": {"text": f"text {at}" if at != 7 else ""},
            "extrinsic_reward": (at * 7 % 11) / 11,
            "value": 0.4,
        }
        for at in range(24)
    ]
    url = str(service.base_url)
    with assay.Client(url) as whole, assay.Client(url, limits=assay.Limits(max_rollouts=5)) as cut:
        for source in ("group_mean", "provided", "none"):
            options: dict[str, Any] = {"components": [], "value_source": source}
            one = whole.score_sequence(items, options=options)
            many = cut.score_sequence(items, options=options)
            assert one.recipe == many.recipe
            assert [result.id for result in many.results] == [item["id"] for item in items]
            for left, right in zip(one.results, many.results, strict=True):
                if isinstance(left, assay.Failed):
                    assert (left.id, left.kind) == ("r7", "empty")
                    assert isinstance(right, assay.Failed)
                    continue
                assert isinstance(right, assay.SequenceScored)
                assert (left.reward, left.value, left.advantage, left.keep) == (
                    right.reward, right.value, right.advantage, right.keep,
                )  # fmt: skip
                assert right.sampling_weight == (
                    None if left.sampling_weight is None else pytest.approx(left.sampling_weight)
                )
            assert many.batch["keep"] == one.batch["keep"]
            assert many.batch["n_keep"] == one.batch["n_keep"]
            assert many.batch["positive_ratio"] == one.batch["positive_ratio"]
            assert many.batch["weight_sum"] == (
                None if source == "none" else pytest.approx(one.batch["weight_sum"])
            )


def test_a_group_that_is_too_large_for_the_service_is_refused_and_not_cut() -> None:
    """What has to be compared is never compared in halves."""
    items = [{"prompt": "p", "completion": {"text": str(at)}} for at in range(8)]
    with FakeServer() as server, server.client(limits=assay.Limits(max_rollouts=3)) as client:
        client.score_sequence(items)
        assert [len(one.body["rollouts"]) for one in server.received] == [8]
        server.max_rollouts = 4
        with pytest.raises(assay.CallRejected, match="1 to 4 rollouts"):
            client.score_sequence(items)
        assert len(client.score_sequence(items, options={"value_source": "provided"}).results) == 8


def test_the_service_itself_answers_a_call_in_parts(embedded: httpx.Client) -> None:
    """Parts, gathered calls and local offsets against the embedded models: the same numbers as in one request."""
    items = [
        {"id": str(at), "prompt": "p", "completion": {"text": f"Thanks, you stupid idiot number {at}."}}
        for at in range(7)
    ]
    url = str(embedded.base_url)
    with assay.Client(url) as whole, assay.Client(url, limits=assay.Limits(max_rollouts=2)) as cut:
        one = whole.score_token(items, task="relc-toxicity")
        many = cut.score_token(items, task="relc-toxicity", reward_match=one.recipe["id"])
        gathered = [assay.Coalescer(whole).score_token(item, task="relc-toxicity") for item in items]
    for results in (many.results, gathered):
        for left, right in zip(one.results, results, strict=True):
            assert isinstance(left, assay.Scored)
            assert isinstance(right, assay.Scored)
            assert (left.id, left.rewards, left.spans) == (right.id, right.rewards, right.spans)
