"""The whole road of ``/score/segment`` against a recomputation that shares no code with the service.

Plain transformers, one row at a time, full softmax, and NumPy for the rest.
"""

import random
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, AutoTokenizer

C_ENT = 2.0
LINE = {"kind": "log_regression", "w_mu": 0.7, "w_sig": 0.2, "b_mu": 0.1, "b_sig": 2.5}
LETTERS = "abcdefghijklmnopqrstuvwxyz .,"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> tuple[str, str]:
    """Folders of a random segment model and a random entropy model."""
    pair: tuple[str, str] = tiny.random_pair(tmp_path_factory.mktemp("random"), seed=3)
    return pair


@pytest.fixture(scope="module")
def client(models: tuple[str, str], hosting: Any) -> Iterator[httpx.Client]:
    """A service on both; every call names its normalizer."""
    with hosting(model=models[0], entropy_model=models[1]) as client:
        yield client


@pytest.fixture(scope="module")
def rollouts(letters: Any) -> list[dict[str, Any]]:
    """Ragged: prompts of 1 to 40 letters, completions of 1 to 200, some without an end marker."""
    random.seed(5)
    made: list[dict[str, Any]] = []
    for length in (1, 2, 3, 7, 20, 41, 60, 61, 99, 140, 200):
        text = "".join(random.choices(LETTERS, k=length))
        prompt = "".join(random.choices(LETTERS, k=random.randint(1, 40)))
        ended = length % 3 != 0
        completion = {"token_ids": letters(text, ended=ended), "truncated": not ended}
        made.append({"id": str(length), "prompt": prompt, "completion": completion})
    return made


def recomputed(models: tuple[str, str], rollout: dict[str, Any]) -> dict[str, Any]:
    """What the paper's formulas give for one rollout."""
    tokenizer = AutoTokenizer.from_pretrained(models[0])
    segment_model = AutoModelForTokenClassification.from_pretrained(models[0]).train(mode=False)
    entropy_model = AutoModelForCausalLM.from_pretrained(models[1]).train(mode=False)
    prompt = tokenizer(rollout["prompt"], add_special_tokens=False)["input_ids"]
    completion = rollout["completion"]["token_ids"]
    ids = torch.tensor([prompt + completion])
    with torch.no_grad():
        logits = entropy_model(ids).logits[0, len(prompt) :].double()
        heads = segment_model(ids).logits[0, len(prompt) :, 0].double().numpy()
    probabilities = torch.softmax(logits, -1).numpy()
    entropies = -(probabilities * np.log(probabilities)).sum(-1)
    count = len(completion) - (completion[-1] == tokenizer.eos_token_id)
    ends = [place for place in range(count) if entropies[place] > C_ENT or place == count - 1]
    rewards = np.zeros(len(completion))
    begin, raws = 0, []
    for number, end in enumerate(ends, start=1):
        place = np.log(number / len(ends) + 1e-10)
        mean, std = LINE["w_mu"] * place + LINE["b_mu"], LINE["w_sig"] * place + LINE["b_sig"]
        raws.append(heads[end])
        rewards[begin : end + 1] = (heads[end] - mean) / max(std, 0.25) / (end + 1 - begin)
        begin = end + 1
    score = float(np.mean(raws))
    return {
        "entropies": entropies,
        "ends": ends,
        "raws": raws,
        "rewards": np.clip(rewards, -10, 10),
        "score": score,
    }


def served(
    client: httpx.Client, models: tuple[str, str], rollouts: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The results of one call."""
    options = {"c_ent": C_ENT, "normalizer": LINE, "return_entropies": True}
    body = {"tokenizer": {"name": models[0]}, "rollouts": rollouts, "options": options}
    response = client.post("/score/segment", json=body)
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    return results


def test_a_ragged_batch_agrees_to_five_decimals(
    client: httpx.Client, models: tuple[str, str], rollouts: list[dict[str, Any]]
) -> None:
    """Entropies, cuts, raw rewards, token rewards and the sequence score."""
    results = served(client, models, rollouts)
    cuts = 0
    for rollout, result in zip(rollouts, results, strict=True):
        expected = recomputed(models, rollout)
        assert result["entropies"] == pytest.approx(expected["entropies"], abs=1e-5)
        assert [segment["token_end"] - 1 for segment in result["segments"]] == expected["ends"]
        assert [segment["raw"] for segment in result["segments"]] == pytest.approx(expected["raws"], abs=1e-5)
        assert result["rewards"] == pytest.approx(expected["rewards"], abs=1e-5)
        assert result["sequence_score"] == pytest.approx(expected["score"], abs=1e-5)
        cuts += len(expected["ends"]) - 1
    assert cuts > 20, "the models were meant to cut often"


def test_no_item_changes_with_its_neighbours(
    client: httpx.Client, models: tuple[str, str], rollouts: list[dict[str, Any]]
) -> None:
    """Said to be right or wrong, so that the cache knows none: alone, and in the opposite order."""
    fresh = [{**rollout, "extrinsic_reward": 0.0} for rollout in rollouts]
    together = served(client, models, fresh)
    other = [{**rollout, "extrinsic_reward": -0.0, "correct": True} for rollout in rollouts]
    reverse = served(client, models, other[::-1])[::-1]
    alone = [served(client, models, [{**rollout, "correct": False}])[0] for rollout in rollouts]
    for one, two, three in zip(together, reverse, alone, strict=True):
        assert not any(result["provenance"]["cached"] for result in (one, two, three))
        assert one["rewards"] == pytest.approx(two["rewards"], abs=1e-5)
        assert one["rewards"] == pytest.approx(three["rewards"], abs=1e-5)
