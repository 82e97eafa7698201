"""Sequence rewards of the service as it comes: the embedded reward model, language model and value head."""

import math
from typing import Any

import httpx
import pytest

PROMPT = "Mia buys 2 bags of 6 shells. Then Mia finds 3 more. How many shells are there?"
RIGHT = "The product is 2 * 6 = 12.\nAdding gives 12 + 3 = 15.\nA: 15"
WRONG = "The product is 2 * 6 = 13.\nAdding gives 13 + 3 = 16.\nA: 16"


def score(client: httpx.Client, texts: list[str], prompt: str = PROMPT, **options: Any) -> dict[str, Any]:
    """The answer of one call over completions of one prompt."""
    rollouts = [
        {"prompt": prompt, "completion": {"text": text}, "extrinsic_reward": float(text == RIGHT)}
        for text in texts
    ]
    response = client.post("/score/sequence", json={"rollouts": rollouts, "options": options})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_a_right_solution_is_kept_and_a_wrong_one_is_not(embedded: httpx.Client) -> None:
    """Nothing has to be named: rewards, values, advantages and weights are there."""
    answer = score(embedded, [RIGHT, WRONG])
    right, wrong = answer["results"]
    assert right["reward"] > 0.8
    assert wrong["reward"] < 0.2
    assert 0 < right["value"] < 1
    assert right["value"] == pytest.approx(wrong["value"], abs=1e-6)
    assert (right["keep"], wrong["keep"]) == (True, False)
    assert (right["sampling_weight"], wrong["sampling_weight"]) == (1.0, 0.0)
    assert answer["recipe"]["options"]["value_source"] == "head"
    assert answer["recipe"]["other_models"]["value"]["name"] == "assay/pocket-value"


def test_the_reward_is_what_the_segment_model_says_of_the_whole(embedded: httpx.Client) -> None:
    """Read as it was trained: the mean over segments, the same number as on the other road, around its middle."""
    rollout = {"prompt": PROMPT, "completion": {"text": WRONG}}
    body = {"rollouts": [rollout], "options": {"normalizer": "none"}}
    segments = embedded.post("/score/segment", json=body).json()["results"][0]
    (one,) = score(embedded, [WRONG])["results"]
    assert one["raw"]["reward"] == pytest.approx((segments["sequence_score"] - 11) / 3, abs=1e-5)
    assert one["reward"] == pytest.approx(1 / (1 + math.exp(-one["raw"]["reward"])))


def test_the_recipe_says_whether_the_value_is_of_this_reward(embedded: httpx.Client) -> None:
    """A head foretells the reward it was trained on, and no other."""

    def told(**options: Any) -> Any:
        return score(embedded, [RIGHT], **options)["recipe"]["options"].get("value_is_of_this_reward")

    assert told() is True
    assert told(components=[{"name": "another name", "model": "reward"}]) is True
    assert told(components=[{"name": "reward", "weight": 2.0}]) is False
    assert told(components=[]) is False
    assert told(value_source="none") is None


def test_the_head_was_measured_on_prompts_it_did_not_see(embedded: httpx.Client) -> None:
    """Its card says how much of the rewards it foretells, and of which policy."""
    models = embedded.get("/info").json()["models"]
    card = models["value"]["card"]
    assert card["base"]["revision"] == models["sequence reference"]["revision"]
    assert card["held_out"]["prompts"] >= 50
    assert card["held_out"]["mse"] < card["held_out"]["constant"]
    assert card["training"]["errors"][card["training"]["best_epoch"] - 1] == min(card["training"]["errors"])


def test_log_probabilities_are_those_of_the_reference_policy(embedded: httpx.Client) -> None:
    """What it would write itself is likelier than what it would not."""
    answer = score(embedded, [RIGHT, WRONG], return_ref_logprob=True)
    right, wrong = (result["ref_logprob"] for result in answer["results"])
    assert wrong < right < 0
