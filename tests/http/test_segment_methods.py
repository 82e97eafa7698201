"""The other ways to spread a scalar, each by its worked case of papers.md 6, through the API on real models."""

import math
from pathlib import Path
from typing import Any

import httpx
import pytest


def rewards_of(
    client: httpx.Client, tokenizer: str, ids: list[int], method: str, **body: Any
) -> dict[str, Any]:
    """The result of one completion behind the prompt ``p``."""
    truncated = body.pop("truncated", False)
    response = client.post(
        "/score/segment",
        json={
            "method": method,
            "tokenizer": {"name": tokenizer},
            "rollouts": [{"prompt": "p", "completion": {"token_ids": ids, "truncated": truncated}}],
            **body,
        },
    )
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()["results"][0]
    assert result["status"] == "ok", result
    return result


def test_red_pays_what_each_token_adds(tmp_path: Path, hosting: Any, tiny: Any, letters: Any) -> None:
    """Item 4: the scores of the prefixes are .1, .3, .25 and .8; the end marker is a token like any other."""
    model = tiny.reading_off(tmp_path, {"a": 0.1, "b": 0.3, "c": 0.25, "<end>": 0.8})
    with hosting(model=model) as client:
        result = rewards_of(client, model, letters("abc"), "prefix_diff")
        assert result["rewards"] == pytest.approx([0.1, 0.2, -0.05, 0.55], abs=1e-6)
        assert result["sequence_score"] == pytest.approx(0.8, abs=1e-6)
        unmarked = rewards_of(client, model, letters("abc", ended=False), "prefix_diff")
        assert unmarked["rewards"] == pytest.approx([0.1, 0.2, 0.5], abs=1e-6), (
            "the marker was added to be read"
        )
        cut = rewards_of(client, model, letters("abc", ended=False), "prefix_diff", truncated=True)
        assert cut["rewards"] == pytest.approx([0.1, 0.2, -0.05], abs=1e-6), "a truncated completion has none"


def test_red_pays_segments_and_keeps_the_sum(tmp_path: Path, hosting: Any, tiny: Any, letters: Any) -> None:
    """Two tokens a segment share what both add."""
    model = tiny.reading_off(tmp_path, {"a": 0.1, "b": 0.3, "c": 0.25, "<end>": 0.8})
    with hosting(model=model) as client:
        options = {"segmenter": "fixed", "segment_length": 2}
        result = rewards_of(client, model, letters("abc"), "prefix_diff", options=options)
    assert result["rewards"] == pytest.approx([0.15, 0.15, 0.25, 0.25], abs=1e-6)
    assert sum(result["rewards"]) == pytest.approx(result["sequence_score"], abs=1e-6)


def test_abc_parts_the_score_by_attention(tmp_path: Path, hosting: Any, tiny: Any, letters: Any) -> None:
    """Item 3: shares of .1, .4, .3 and .2 of a score of 2; what was looked at elsewhere is left out."""
    model = tiny.looking(tmp_path, {"a": 0.1, "b": 0.4, "c": 0.3, "<end>": 0.2, "p": 0.7}, score=2.0)
    with hosting(model=model) as client:
        ids = letters("abcd", ended=False)
        result = rewards_of(client, model, letters("abc"), "attention")
        assert result["sequence_score"] == pytest.approx(2.0, abs=1e-5)
        assert sum(result["rewards"]) == pytest.approx(2.0, abs=1e-5)
        first = result["rewards"][0]
        assert [reward / first for reward in result["rewards"][:3]] == pytest.approx([1, 4, 3], rel=1e-4)
        assert rewards_of(client, model, ids, "attention")["sequence_score"] == pytest.approx(2.0, abs=1e-5)


def test_abc_worked_case(tmp_path: Path, hosting: Any, tiny: Any, letters: Any) -> None:
    """Item 3 to the number: four letters with .1, .4, .3, .2, the marker unseen because the trainer sends none."""
    model = tiny.looking(tmp_path, {"a": 0.1, "b": 0.4, "c": 0.3, "d": 0.2}, score=2.0)
    with hosting(model=model) as client:
        result = rewards_of(client, model, letters("abcd", ended=False), "attention")
    assert result["rewards"] == pytest.approx([0.2, 0.8, 0.6, 0.4], abs=1e-5)


def test_implicit_prm_is_a_log_ratio(tmp_path: Path, hosting: Any, tiny: Any, letters: Any) -> None:
    """Item 8: log-ratios of .2, -1 and 0 at beta .05."""

    def chances(first: float, second: float, third: float) -> dict[str, dict[str, float]]:
        rows = (("p", "a", first), ("a", "b", second), ("b", "c", third))
        return {
            before: {letter: math.log(chance), "z": math.log(1 - chance)} for before, letter, chance in rows
        }

    ratio = [0.5 * math.exp(0.2), 0.5 * math.exp(-1.0), 0.5]
    model = tiny.predicting(tmp_path / "model", chances(*ratio))
    reference = tiny.predicting(tmp_path / "reference", chances(0.5, 0.5, 0.5))
    segment = tiny.reading_off(tmp_path / "segment", {})
    pair = {"model": model, "reference_model": reference}
    with hosting(model=segment, implicit=pair) as client:
        ids = letters("abc", ended=False)
        result = rewards_of(client, model, ids, "implicit_prm", truncated=True)
        assert result["rewards"] == pytest.approx([0.01, -0.05, 0.0], abs=1e-6)
        assert result["sequence_score"] == pytest.approx(-0.04, abs=1e-6)
        stronger = rewards_of(client, model, ids, "implicit_prm", truncated=True, options={"beta": 0.5})
        assert stronger["rewards"] == pytest.approx([0.1, -0.5, 0.0], abs=1e-5)
        recipe = client.post(
            "/score/segment",
            json={"method": "implicit_prm", "rollouts": [{"prompt": "p", "completion": {"text": "a"}}]},
        ).json()["recipe"]
    assert set(recipe["other_models"]) == {"reference"}
    assert recipe["model"]["name"] == model


def test_the_implicit_reward_needs_its_models(tmp_path: Path, hosting: Any, tiny: Any) -> None:
    """Not configured is said so, with what to set."""
    with hosting(model=tiny.reading_off(tmp_path, {})) as client:
        response = client.post(
            "/score/segment", json={"method": "implicit_prm", "rollouts": [{"completion": {"text": "a"}}]}
        )
    assert response.status_code == 422
    assert response.json()["pointer"] == "/method"
    assert "ASSAY_IMPLICIT__MODEL" in response.json()["detail"]
