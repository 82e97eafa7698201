"""What ``/score/segment`` refuses, what fails alone, and what its answers say of themselves."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from assayd.app import create_app
from assayd.settings import SegmentSettings, Settings

VALUES = {"a": 1.0, "b": -1.0, "c": 0.5}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> str:
    """A segment model that reads single letters off."""
    folder: str = tiny.reading_off(tmp_path_factory.mktemp("segment"), VALUES)
    return folder


@pytest.fixture(scope="module")
def client(model: str, hosting: Any) -> Iterator[httpx.Client]:
    """A service on it, with neither an entropy model nor a normalizer."""
    with hosting(model=model, max_model_len=64) as client:
        yield client


def post(client: httpx.Client, *rollouts: dict[str, Any], **body: Any) -> httpx.Response:
    """One call; every completion is a text alone unless it says otherwise."""
    return client.post("/score/segment", json={"rollouts": list(rollouts), **body})


def item(text: str, **more: Any) -> dict[str, Any]:
    """A rollout of a text."""
    return {"prompt": "p", "completion": {"text": text}, **more}


TOKENS = {"boundary_mode": "token", "normalizer": "none"}


def test_texts_alone_are_cut_by_the_segment_model_s_tokenizer(client: httpx.Client) -> None:
    """Nothing has to be transferred, and ids and offsets come back."""
    result = post(client, item("abc"), options=TOKENS).json()["results"][0]
    assert result["rewards"] == pytest.approx([1.0, -1.0, 0.5], abs=1e-6)
    assert result["offsets"] == [[0, 1], [1, 2], [2, 3]]
    assert len(result["token_ids"]) == 3
    assert "transferred" not in result


def test_other_tokens_are_transferred_and_said_so(client: httpx.Client) -> None:
    """The policy's two tokens end where the model's second and third letter stand."""
    pieces = item("abc")
    pieces["completion"]["offsets"] = [[0, 2], [2, 3]]
    result = post(client, pieces, options=TOKENS).json()["results"][0]
    assert result["rewards"] == pytest.approx([-1.0, 0.5], abs=1e-6)
    assert result["transferred"] is True
    refused = post(client, pieces, options={**TOKENS, "tokenizer_policy": "require_same"}).json()["results"][
        0
    ]
    assert refused["failure"]["kind"] == "unaligned"


def test_the_extrinsic_reward_joins_the_last_token(client: httpx.Client) -> None:
    """As on the other road: beside the intrinsic rewards, and weighted."""
    options = {**TOKENS, "alpha_ext": 2.0, "alpha_int": 0.5}
    result = post(client, item("ab", extrinsic_reward=3.0), options=options).json()["results"][0]
    assert result["intrinsic"] == pytest.approx([1.0, -1.0], abs=1e-6)
    assert result["rewards"] == pytest.approx([0.5, 5.5], abs=1e-6)


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({}, "/options/normalizer"),
        ({"normalizer": "phi4"}, "/options/normalizer"),
        ({"normalizer": "phi3-instruct", "c_ent": 1.9}, "/options/normalizer"),
        ({"normalizer": "phi3-instruct", "segmenter": "sentence"}, "/options/normalizer"),
        ({"segmenter": "step", "c_ent": 2.0}, "/options/c_ent"),
        ({"segment_length": 4}, "/options/segment_length"),
        ({"normalizer": "none", "clamp": [1.0, -1.0]}, "/options/clamp"),
        ({"normalizer": "none", "len_threshold": 5}, "/options/len_threshold"),
        ({"normalizer": "none", "beta": 0.5}, "/options/beta"),
        (
            {"normalizer": {"kind": "log_regression", "w_mu": 0.0, "w_sig": 1.0, "b_mu": 0.0, "b_sig": -1.0}},
            "/options/std_floor",
        ),
    ],
)
def test_options_that_do_not_go_together_end_the_call(
    client: httpx.Client, options: dict[str, Any], pointer: str
) -> None:
    """422, the field, and what to do; never a silent (0, 1)."""
    response = post(client, item("a"), options=options)
    assert (response.status_code, response.json()["pointer"]) == (422, pointer)


@pytest.mark.parametrize(
    "normalizer",
    [
        {"kind": "log_regression", "w_mu": 1.0},
        {"kind": "affine", "mean": 0.0, "std": 0.0},
        {"kind": "cubic"},
        {"kind": "affine", "mean": 0.0, "std": 1.0, "extra": 1},
    ],
)
def test_missing_or_wrong_coefficients_are_refused(client: httpx.Client, normalizer: dict[str, Any]) -> None:
    """Coefficients are all there, or the call ends."""
    response = post(client, item("a"), options={"normalizer": normalizer})
    assert response.status_code == 422
    assert response.json()["pointer"].startswith("/options/normalizer")


def test_one_rollout_fails_alone(client: httpx.Client) -> None:
    """Each with its kind and without rewards; its neighbours go on."""
    long, wrong = item("a" * 80), item("ab", entropies=[0.1])
    results = post(client, item("a"), long, wrong, item(""), item("b"), options=TOKENS).json()["results"]
    assert [result["status"] for result in results] == ["ok", "failed", "failed", "failed", "ok"]
    kinds = [result["failure"]["kind"] for result in results if result["status"] == "failed"]
    assert kinds == ["too_long", "unaligned", "empty"]
    assert "rewards" not in results[1]
    assert results[3]["rewards"] == []


def test_zeros_on_failure_are_asked_for(client: httpx.Client) -> None:
    """And stay marked as failed."""
    options = {**TOKENS, "on_error": "zero"}
    result = post(client, item("a" * 80), options=options).json()["results"][0]
    assert (result["status"], result["rewards"]) == ("failed", [0.0] * 80)


def test_a_long_prompt_loses_its_left_part_and_says_so(client: httpx.Client) -> None:
    """The completion is never cut."""
    options = {**TOKENS, "max_prompt_length": 10}
    rollout = {"prompt": "p" * 100, "completion": {"text": "abc"}}
    result = post(client, rollout, options=options).json()["results"][0]
    assert result["prompt_tokens_dropped"] == 90
    assert len(result["rewards"]) == 3


def test_entropies_that_nobody_has_fail_the_rollout(client: httpx.Client) -> None:
    """A rollout that brings its own goes on."""
    own = item("ab", entropies=[3.0, 0.0])
    results = post(client, item("ab"), own, options={"normalizer": "none"}).json()["results"]
    assert results[0]["failure"]["kind"] == "invalid"
    assert "segment.entropy_model" in results[0]["failure"]["detail"]
    assert [segment["token_end"] for segment in results[1]["segments"]] == [1, 2]


def test_the_end_penalty_takes_the_place_of_all_rewards(client: httpx.Client) -> None:
    """For a completion that was cut off, or is longer than the threshold."""
    options = {**TOKENS, "end_penalty": -0.05, "len_threshold": 2}
    cut_off = {"prompt": "p", "completion": {"text": "ab", "truncated": True}}
    results = post(client, item("ab"), item("abc"), cut_off, options=options).json()["results"]
    assert [result.get("penalized", False) for result in results] == [False, True, True]
    assert results[1]["rewards"] == [-0.05] * 3
    assert results[2]["rewards"] == [-0.05] * 2
    assert len(results[1]["segments"]) == 3
    released = post(client, item("abc"), options=options, mode="compat").json()["results"][0]
    assert "penalized" not in released, "the released code takes the prompt's length off"


def test_length_norm_divides_by_the_tokens_of_the_policy(client: httpx.Client) -> None:
    """Masked tokens do not count, and have nothing."""
    options = {**TOKENS, "length_norm": True}
    result = post(client, item("abc", mask=[1, 0, 1]), options=options).json()["results"][0]
    assert result["rewards"] == pytest.approx([0.5, 0.0, 0.25], abs=1e-6)


def test_the_clamp_acts_after_the_split(client: httpx.Client) -> None:
    """Two tokens of a segment worth 30 have 10 each, not 5."""
    options = {"segmenter": "step", "normalizer": {"kind": "affine", "mean": 0.0, "std": 1 / 30}}
    rewards = post(client, item("ba"), options=options).json()["results"][0]["rewards"]
    assert rewards == [10.0, 10.0]
    free = post(client, item("ba"), options={**options, "clamp": None}).json()["results"][0]["rewards"]
    assert free == pytest.approx([15.0, 15.0], abs=1e-4)


def test_the_second_call_is_answered_from_the_cache_and_the_recipe_can_be_pinned(
    client: httpx.Client,
) -> None:
    """One identity over model, options, normalizer and mode."""
    first = post(client, item("cab"), options=TOKENS).json()
    second = post(client, item("cab"), options=TOKENS).json()
    assert (first["results"][0]["provenance"]["cached"], second["results"][0]["provenance"]["cached"]) == (
        False,
        True,
    )
    assert first["results"][0]["rewards"] == second["results"][0]["rewards"]
    other = post(client, item("cab"), options={**TOKENS, "interpolation": "last"}).json()
    assert other["recipe"]["id"] != first["recipe"]["id"]
    headers = {"If-Reward-Match": other["recipe"]["id"]}
    body = {"rollouts": [item("cab")], "options": TOKENS}
    assert client.post("/score/segment", json=body, headers=headers).status_code == 412


def test_a_deadline_bounds_the_call(client: httpx.Client) -> None:
    """What is not scored by then says so."""
    result = post(client, item("bac"), options=TOKENS, timeout_s=1e-6).json()["results"][0]
    assert result["failure"]["kind"] == "past_deadline"


def test_a_normalizer_file_goes_with_its_model_only(
    tmp_path: Path, model: str, hosting: Any, client: httpx.Client
) -> None:
    """Served by default for the cuts it was fitted to; refused at the start for a model of another revision."""
    revision = client.get("/info").json()["models"]["segment"]["revision"]
    fit = {"cut": {"boundary_mode": "token"}, "kind": "affine", "mean": 1.0, "std": 2.0}
    content = {"format": "assay-normalizer/1", "model": {"name": "m", "revision": revision}, "fits": [fit]}
    file = tmp_path / "normalizer.json"
    file.write_text(json.dumps(content))
    with hosting(model=model, normalizer=str(file)) as fitted:
        options = {"boundary_mode": "token"}
        result = post(fitted, item("ab"), options=options).json()["results"][0]
        assert result["rewards"] == pytest.approx([0.0, -1.0], abs=1e-6)
        refused = post(fitted, item("ab"), options={"boundary_mode": "bandit"})
        assert (refused.status_code, refused.json()["pointer"]) == (422, "/options/normalizer")
    content["model"] = {"name": "m", "revision": "sha256:other"}
    file.write_text(json.dumps(content))
    settings = Settings(
        critic={"engine": "fake"},
        rewriter={"engine": "fake"},
        segment=SegmentSettings(engine="transformers", model=model, normalizer=str(file)),
    )
    with pytest.raises(ValueError, match="fit it anew"), _started(settings):
        pass


def _started(settings: Settings) -> Any:
    from starlette.testclient import TestClient

    return TestClient(create_app(settings))


def test_info_names_the_models_and_the_way_to_cut(client: httpx.Client, model: str) -> None:
    """What a researcher looks up before trusting a number."""
    info = client.get("/info").json()
    assert info["models"]["segment"]["name"] == model
    assert info["models"]["segment"]["cut"]["segmenter"] == "entropy"
    assert set(info["methods"]) >= {"critic", "segment", "prefix_diff", "attention", "implicit_prm"}
    assert client.get("/readyz").json()["parts"]["segment"] is True


@pytest.mark.parametrize("entropies", [[-1.0, 0.0], ["x", 0.0]])
def test_entropies_are_finite_and_not_negative(client: httpx.Client, entropies: list[Any]) -> None:
    """A value that is no entropy ends the call with its place."""
    response = post(client, item("ab", entropies=entropies), options=TOKENS)
    assert response.status_code == 422
    assert response.json()["pointer"] == "/rollouts/0/entropies/0"
