"""What ``/score/sequence`` refuses, what fails alone, and what its answers say of themselves."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from assayd.app import create_app
from assayd.settings import SequenceSettings, Settings

VALUES = {"a": 2.0, "b": -2.0, "c": 0.5}
OFFLINE: dict[str, Any] = {"components": [], "value_source": "none"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the models lie."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def client(folder: Path, hosting: Any, tiny: Any) -> Iterator[httpx.Client]:
    """A service with two reward models, hooks, word statistics, and no value head."""
    words = folder / "words.json"
    words.write_text(json.dumps({"format": "assay-idf/1", "documents": 9, "frequency": {"common": 9}}))
    hooks = folder / "hooks.py"
    hooks.write_text(
        "def length(prompt, completion, reference):\n    return len(prompt) + len(completion)\n"
        "def broken(prompt, completion, reference):\n    raise RuntimeError('no luck')\n"
        "def nothing(prompt, completion, reference):\n    return float('nan')\n"
    )
    sequence = {
        "engine": "transformers",
        "model": tiny.reading_off(folder / "first", VALUES),
        "max_model_len": 64,
        "components": {
            "second": {"model": tiny.reading_off(folder / "second", {"a": 1.0}), "activation": "raw"}
        },
        "hooks": {name: f"hooks:{name}" for name in ("length", "broken", "nothing")},
        "document_frequencies": str(words),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        with hosting(sequence=sequence) as client:
            yield client


def item(text: str, **more: Any) -> dict[str, Any]:
    """A rollout of a text that was cut off, so that models are read on its last letter."""
    return {"prompt": "p", "completion": {"text": text, "truncated": True}, **more}


def post(client: httpx.Client, *rollouts: dict[str, Any], **body: Any) -> httpx.Response:
    """One call."""
    return client.post("/score/sequence", json={"rollouts": list(rollouts), **body})


def results(client: httpx.Client, *rollouts: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    """What comes back for each rollout."""
    response = post(client, *rollouts, options=options)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["results"]
    return found


def test_all_hosted_models_are_the_default_and_their_sum_the_reward(client: httpx.Client) -> None:
    """Unweighted, each behind its own activation: the first a sigmoid, the second as it is."""
    (one,) = results(client, item("a"))
    assert one["raw"] == {"reward": pytest.approx(2.0, abs=1e-5), "second": pytest.approx(1.0, abs=1e-5)}
    assert one["components"] == {
        "reward": pytest.approx(0.880797, abs=1e-5),
        "second": pytest.approx(1.0, abs=1e-5),
    }
    assert one["reward"] == pytest.approx(1.880797, abs=1e-5)
    assert (one["value"], one["advantage"], one["keep"], one["sampling_weight"]) == (None,) * 4


def test_components_are_weighed(client: httpx.Client) -> None:
    """Models by name, rules, a hook and the trainer's own reward in one sum."""
    components = [
        {"name": "help", "model": "reward", "weight": 2.0, "activation": "raw"},
        {"name": "calm", "model": "second", "weight": -1.0, "activation": "sigmoid"},
        {"name": "long", "kind": "length", "length_target": 4, "weight": 10.0},
        {"name": "own", "kind": "hook", "hook": "length", "weight": 100.0},
        {"name": "outcome", "kind": "extrinsic", "weight": 1000.0},
    ]
    (one,) = results(client, item("ca", extrinsic_reward=3.0), components=components)
    expected = 2 * 2.0 - 0.731059 + 10 * 0.5 + 100 * 3 + 1000 * 3
    assert one["reward"] == pytest.approx(expected, abs=1e-4)
    assert one["components"]["long"] == 0.5
    assert one["components"]["own"] == 3.0


def test_the_end_marker_is_where_a_finished_completion_is_read(folder: Path, hosting: Any, tiny: Any) -> None:
    """As sequence classifiers are; what was cut off has none."""
    model = tiny.reading_off(folder / "marked", {"a": 1.0, "<end>": 3.0})
    with hosting(sequence={"engine": "transformers", "model": model, "activation": "raw"}) as client:
        finished = {"prompt": "p", "completion": {"text": "a"}}
        rewards = [one["reward"] for one in results(client, finished, item("a"))]
    assert rewards == pytest.approx([3.0, 1.0], abs=1e-5)


def test_scores_are_brought_around_their_middle(folder: Path, hosting: Any, tiny: Any) -> None:
    """A model of pairs knows no zero: `center` is taken off and the rest divided by `scale`, before the sigmoid."""
    model = tiny.reading_off(folder / "centered", {"a": 6.0, "b": 2.0})
    sequence = {"engine": "transformers", "model": model, "center": 4.0, "scale": 2.0}
    with hosting(sequence=sequence) as client:
        answer = post(client, item("a"), item("b")).json()
    assert [one["raw"]["reward"] for one in answer["results"]] == pytest.approx([1.0, -1.0], abs=1e-5)
    assert [one["reward"] for one in answer["results"]] == pytest.approx([0.731059, 0.268941], abs=1e-5)
    part = answer["recipe"]["options"]["components"][0]
    assert (part["center"], part["scale"]) == (4.0, 2.0)


def test_a_table_of_words_makes_common_ones_count_less(client: httpx.Client) -> None:
    """By document frequency."""
    diversity = [{"name": "diversity", "kind": "tfidf_diversity"}]
    texts = ["common rare", "other rare"]
    common, rare = (one["reward"] for one in results(client, *map(item, texts), components=diversity))
    assert common < rare == pytest.approx(2**-0.5 * 0.2)


def test_without_components_the_reward_is_the_trainer_s(client: httpx.Client) -> None:
    """One that sends none fails alone."""
    sent, missing = results(client, item("a", extrinsic_reward=-0.25), item("a"), **OFFLINE)
    assert (sent["reward"], sent["components"]) == (-0.25, {})
    assert (missing["status"], missing["failure"]["kind"]) == ("failed", "invalid")


def test_a_failed_rollout_has_no_numbers_and_moves_none(client: httpx.Client) -> None:
    """Not those of the call and not those of its group."""
    group = {"value_source": "group_mean", "components": []}
    good, bad = item("a", extrinsic_reward=1.0), item("b", extrinsic_reward=0.0)
    alone = post(client, good, bad, options=group).json()
    broken = [item(""), item("x"), item(" \n", extrinsic_reward=9.0), {"prompt": "p", "completion": {}}]
    together = post(client, good, *broken, bad, options=group).json()
    numbers = ("reward", "value", "advantage", "keep", "sampling_weight")
    assert [alone["results"][0][name] for name in numbers] == [1.0, 0.5, 0.5, True, 1.0]
    for place, other in ((0, 0), (-1, 1)):
        assert all(together["results"][place][name] == alone["results"][other][name] for name in numbers)
    for failed in together["results"][1:-1]:
        assert failed.keys() == {"id", "status", "failure"}
    kinds = [failed["failure"]["kind"] for failed in together["results"][1:-1]]
    assert kinds == ["empty", "invalid", "empty", "unaligned"]
    assert together["batch"].pop("keep") == [True, None, None, None, None, False]
    assert alone["batch"].pop("keep") == [True, False]
    assert together["batch"] == alone["batch"]


def test_groups_are_named_or_are_those_of_one_prompt(client: httpx.Client) -> None:
    """A name wins over the prompt, and a rollout without one stays with its prompt."""
    rollouts = [
        item("a", extrinsic_reward=1.0),
        item("b", extrinsic_reward=0.0),
        item("c", extrinsic_reward=4.0, prompt="q", group="g"),
        item("d", extrinsic_reward=2.0, group="g"),
        item("e", extrinsic_reward=7.0, prompt="q"),
    ]
    answer = post(client, *rollouts, options={"components": [], "value_source": "group_mean"}).json()
    assert [one["value"] for one in answer["results"]] == [0.5, 0.5, 3.0, 3.0, 7.0]
    assert [one["advantage"] for one in answer["results"]] == [0.5, -0.5, 1.0, -1.0, 0.0]
    assert "not A-LoL" in answer["recipe"]["options"]["baseline"]


def test_a_provided_value_is_needed_where_it_is_asked_for(client: httpx.Client) -> None:
    """And one that is not asked for changes nothing."""
    provided = {"components": [], "value_source": "provided"}
    with_value, without = results(
        client, item("a", extrinsic_reward=1.0, value=0.25), item("b", extrinsic_reward=1.0), **provided
    )
    assert (with_value["value"], with_value["advantage"]) == (0.25, 0.75)
    assert without["failure"]["kind"] == "invalid"
    (ignored,) = results(client, item("a", extrinsic_reward=1.0, value=0.25), **OFFLINE)
    assert ignored["advantage"] is None


def test_weights_of_a_data_set_are_reckoned_from_the_sums_of_its_calls(client: httpx.Client) -> None:
    """The second call is answered from the cache: the sum is no part of what a rollout is worth."""
    options = {"components": [], "value_source": "group_mean"}
    rollouts = [item("a", extrinsic_reward=1.0), item("b", extrinsic_reward=0.5)]
    first = post(client, *rollouts, options=options).json()
    total = first["batch"]["weight_sum"] + 0.75
    second = post(client, *rollouts, options={**options, "dataset_weight_sum": total}).json()
    assert [one["sampling_weight"] for one in second["results"]] == [0.25, 0.0]
    assert all(one["provenance"]["cached"] for one in second["results"])
    assert second["recipe"]["id"] == first["recipe"]["id"]


@pytest.mark.parametrize(
    ("hook", "kind", "said"),
    [("broken", "internal", "RuntimeError"), ("nothing", "internal", "finite"), ("length", None, "")],
)
def test_a_hook_that_breaks_costs_one_rollout(
    client: httpx.Client, hook: str, kind: str | None, said: str
) -> None:
    """And says which component it was, and what kind of error; what the error says is for the log."""
    (one,) = results(client, item("a"), components=[{"name": "mine", "kind": "hook", "hook": hook}])
    if kind is None:
        assert one["reward"] == 2.0
    else:
        assert one["failure"]["kind"] == kind
        assert "'mine'" in one["failure"]["detail"]
        assert said in one["failure"]["detail"]
        assert "no luck" not in one["failure"]["detail"]


def test_a_hook_is_pinned_by_its_file(client: httpx.Client) -> None:
    """Another text of the function is another recipe."""
    components = [{"name": "mine", "kind": "hook", "hook": "length"}]
    part = post(client, item("a"), options={"components": components}).json()["recipe"]["options"]
    assert part["components"][0]["hook"]["name"] == "hooks:length"
    assert part["components"][0]["hook"]["revision"].startswith("sha256:")


@pytest.mark.parametrize(
    ("component", "field"),
    [
        ({"kind": "model"}, "model"),
        ({"kind": "model", "model": "third"}, "model"),
        ({"kind": "hook", "hook": "third"}, "hook"),
        ({"kind": "hook"}, "hook"),
        ({"kind": "length", "question": "?"}, "question"),
        ({"kind": "length", "criteria": [{"name": "c", "description": "d"}]}, "criteria"),
        ({"kind": "judge"}, "question"),
        ({"kind": "judge", "question": " "}, "question"),
        ({"kind": "judge", "question": "?", "answer_by": "probability", "n_votes": 3}, "n_votes"),
        ({"kind": "judge", "question": "?", "answer_by": "probability"}, "answer_by"),
        ({"kind": "judge", "question": "?", "answer_by": "probability", "reasoning": True}, "reasoning"),
        ({"kind": "length", "reasoning": True}, "reasoning"),
        ({"kind": "rubric"}, "criteria"),
        ({"kind": "rubric", "criteria": [{"name": "c", "description": "d", "weight": -1.0}]}, "criteria"),
        ({"kind": "rubric", "criteria": [{"name": "c", "description": "d"}] * 2}, "criteria"),
        ({"kind": "extrinsic", "length_target": 3}, "length_target"),
    ],
)
def test_a_component_that_cannot_be_made_ends_the_call(
    client: httpx.Client, component: dict[str, Any], field: str
) -> None:
    """422, with its place."""
    parts = [{"name": "first", "kind": "length"}, {"name": "second", **component}]
    response = post(client, item("a"), options={"components": parts})
    assert (response.status_code, response.json()["pointer"]) == (422, f"/options/components/1/{field}")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"mode": "compat"}, "/mode"),
        ({"options": {"value_source": "head"}}, "/options/value_source"),
        ({"options": {"value_source": "mean"}}, "/options/value_source"),
        ({"options": {"return_ref_logprob": True}}, "/options/return_ref_logprob"),
        ({"options": {"dataset_weight_sum": -1.0}}, "/options/dataset_weight_sum"),
        ({"options": {"components": [{"name": "a", "kind": "length"}] * 2}}, "/options/components/1/name"),
        ({"options": {"components": [{"name": "", "kind": "length"}]}}, "/options/components/0/name"),
        ({"options": {"weights": []}}, "/options/weights"),
    ],
)
def test_options_that_do_not_go_together_end_the_call(
    client: httpx.Client, body: dict[str, Any], pointer: str
) -> None:
    """422, the field, and what to do."""
    response = post(client, item("a"), **body)
    assert (response.status_code, response.json()["pointer"]) == (422, pointer)


def test_numbers_that_would_overflow_are_no_rewards(client: httpx.Client) -> None:
    """Sums stay finite, and answers are JSON."""
    (one,) = results(client, item("a", extrinsic_reward=1e300), **OFFLINE)
    assert one["failure"]["kind"] == "invalid"


def test_a_completion_is_never_cut_and_a_long_prompt_says_so(client: httpx.Client) -> None:
    """The reward model holds 64 tokens."""
    model = [{"name": "r", "model": "reward"}]
    long_prompt = {"prompt": "p" * 100, "completion": {"text": "a"}}
    dropped, refused = results(client, long_prompt, item("a" * 80), components=model, max_prompt_length=10)
    assert dropped["prompt_tokens_dropped"] == 90
    assert refused["failure"]["kind"] == "too_long"


def test_masked_tokens_are_not_the_policy_s(client: httpx.Client) -> None:
    """They have no length, and a completion of nothing else is empty."""
    length = [{"name": "length", "kind": "length", "length_target": 4}]
    texts = [item("abcd", mask=mask) for mask in ([1, 0, 0, 1], [0, 0, 0, 0])]
    half, empty = results(client, *texts, components=length)
    assert half["reward"] == 0.5
    assert empty["failure"]["kind"] == "empty"


def test_what_the_rewards_are_made_of_is_the_recipe(client: httpx.Client) -> None:
    """Another weight is another recipe; the cache answers what was asked before."""

    def call(weight: float) -> dict[str, Any]:
        parts = [{"name": "r", "model": "reward", "weight": weight}]
        answer: dict[str, Any] = post(client, item("cab"), options={"components": parts}).json()
        return answer

    one, same, other = call(1.0), call(1.0), call(2.0)
    cached = [answer["results"][0]["provenance"]["cached"] for answer in (one, same, other)]
    assert cached == [False, True, False]
    assert one["recipe"]["id"] == same["recipe"]["id"] != other["recipe"]["id"]
    assert one["recipe"]["other_models"]["component r"] == one["recipe"]["model"]


def test_info_names_the_models(client: httpx.Client) -> None:
    """What a researcher looks up before trusting a number."""
    info = client.get("/info").json()
    assert info["models"]["sequence second"]["activation"] == "raw"
    assert "sequence" in info["methods"]
    assert client.get("/readyz").json()["parts"]["sequence reward"] is True


@pytest.mark.parametrize(
    ("sequence", "said"),
    [
        ({"hooks": {"mine": "nowhere:function"}}, "module:function"),
        ({"components": {"reward": {"model": "x"}}}, "called reward"),
        ({"document_frequencies": "nowhere.json"}, "nowhere.json"),
        ({"engine": "openai", "model": "m", "base_url": "http://127.0.0.1:9"}, "cannot score completions"),
        ({"value_model": "nowhere"}, "assayd train value"),
    ],
)
def test_settings_that_cannot_be_served_are_refused_at_the_start(sequence: dict[str, Any], said: str) -> None:
    """With what to do."""
    fake = {"engine": "fake"}
    own = SequenceSettings(**{**fake, **sequence})
    settings = Settings(critic=fake, segment=fake, rewriter=fake, sequence=own)
    with pytest.raises(ValueError, match=said), TestClient(create_app(settings)):
        pass


def test_components_are_named_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As every other key."""
    monkeypatch.setenv("ASSAY_SEQUENCE__COMPONENTS__FLUENCY__MODEL", "some/model")
    monkeypatch.setenv("ASSAY_SEQUENCE__HOOKS", '{"mine": "module:function"}')
    sequence = Settings().sequence
    assert sequence.components["fluency"].model == "some/model"
    assert sequence.hooks == {"mine": "module:function"}
