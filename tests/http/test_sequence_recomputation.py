"""The whole road of ``/score/sequence`` against a recomputation that shares no code with the service.

Plain transformers, one row at a time, no padding anywhere, and NumPy for the rest.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, AutoTokenizer

HEADS, MAX_VALUE = 8, 4.0
LETTERS = "abcdefghijklmnopqrstuvwxyz .,"
Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> Path:
    """A random reward model, a random reference policy, and a random head on it that looks hard at some places."""
    folder = tmp_path_factory.mktemp("random")
    _, base = tiny.random_pair(folder, seed=4)
    torch.manual_seed(4)
    width = tiny.config().hidden_size
    shapes = {
        "query": (width,),
        "attention.in_proj_weight": (3 * width, width),
        "attention.in_proj_bias": (3 * width,),
        "attention.out_proj.weight": (width, width),
        "attention.out_proj.bias": (width,),
        "score.weight": (1, width),
        "score.bias": (1,),
    }
    tensors = {name: 0.1 * torch.randn(shape) for name, shape in shapes.items()}
    tensors["score.bias"] -= 1.9  # values around a half, as the rewards are
    torch.save(tensors, folder / "tensors.pt")
    tiny.headed(folder / "head", tensors, base, heads=HEADS, max_value=MAX_VALUE)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path, hosting: Any) -> Iterator[httpx.Client]:
    """A service on all of them."""
    sequence = {
        "engine": "transformers",
        "model": str(folder / "segment"),
        "value_model": str(folder / "head"),
        "value_base": str(folder / "entropy"),
        "reference_model": str(folder / "entropy"),
    }
    with hosting(sequence=sequence) as client:
        yield client


@pytest.fixture(scope="module")
def rollouts(letters: Any) -> list[dict[str, Any]]:
    """Ragged: prompts of 1 to 200 letters, completions of 1 to 60, some without an end marker."""
    rng = random.Random(6)
    made: list[dict[str, Any]] = []
    for place, length in enumerate((1, 2, 3, 7, 20, 41, 60, 61, 99, 140, 200)):
        prompt = "".join(rng.choices(LETTERS, k=length))
        text = "".join(rng.choices(LETTERS, k=rng.randint(1, 60))).strip() + "x"
        ended = place % 3 != 0
        completion = {"token_ids": letters(text, ended=ended), "truncated": not ended}
        made.append({"id": str(place), "prompt": prompt, "completion": completion})
    return made


def softmax(scores: Array) -> Array:
    """Over the last axis."""
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(shares / shares.sum(-1, keepdims=True))


def sigmoid(number: float) -> float:
    """Of one number."""
    return float(1 / (1 + np.exp(-number)))


def value_of(states: Array, tensors: dict[str, Array]) -> float:
    """Multi-head attention of one query over all states of one prompt, head by head."""
    width = states.shape[1]
    weights = tensors["attention.in_proj_weight"].reshape(3, width, width)
    biases = tensors["attention.in_proj_bias"].reshape(3, width)
    query = weights[0] @ tensors["query"] + biases[0]
    keys, values = states @ weights[1].T + biases[1], states @ weights[2].T + biases[2]
    seen = []
    for head in np.split(np.arange(width), HEADS):
        looks = softmax(keys[:, head] @ query[head] / np.sqrt(len(head)))
        seen.append(looks @ values[:, head])
    mixed = tensors["attention.out_proj.weight"] @ np.concatenate(seen) + tensors["attention.out_proj.bias"]
    return MAX_VALUE * sigmoid(float((tensors["score.weight"] @ mixed + tensors["score.bias"])[0]))


def recomputed(folder: Path, rollout: dict[str, Any]) -> tuple[float, float]:
    """Reward and value of one rollout."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "segment")
    reward_model = AutoModelForTokenClassification.from_pretrained(folder / "segment").train(mode=False)
    policy = AutoModelForCausalLM.from_pretrained(folder / "entropy").train(mode=False)
    tensors = {name: tensor.double().numpy() for name, tensor in torch.load(folder / "tensors.pt").items()}
    prompt = tokenizer(rollout["prompt"], add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        ids = torch.tensor([prompt + rollout["completion"]["token_ids"]])
        raw = reward_model(ids).logits[0, -1, 0].item()
        states = policy.model(torch.tensor([prompt])).last_hidden_state[0].double().numpy()
    return sigmoid(raw), value_of(states, tensors)


def served(client: httpx.Client, rollouts: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer of one call."""
    name = client.get("/info").json()["models"]["sequence reward"]["name"]
    response = client.post("/score/sequence", json={"tokenizer": {"name": name}, "rollouts": rollouts})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_a_ragged_batch_agrees_to_five_decimals(
    client: httpx.Client, folder: Path, rollouts: list[dict[str, Any]]
) -> None:
    """Rewards, values, advantages, what is kept, weights, and the numbers of the call."""
    expected = np.array([recomputed(folder, rollout) for rollout in rollouts])
    rewards, values = expected[:, 0], expected[:, 1]
    advantages = rewards - values
    kept = advantages > 0
    assert 0 < kept.sum() < len(kept), "the models were meant to disagree with each other"
    answer = served(client, rollouts)

    def column(name: str) -> list[Any]:
        return [result[name] for result in answer["results"]]

    assert column("reward") == pytest.approx(rewards, abs=1e-5)
    assert column("value") == pytest.approx(values, abs=1e-5)
    assert column("advantage") == pytest.approx(advantages, abs=2e-5)
    assert column("keep") == kept.tolist()
    weights = np.maximum(advantages, 0)
    assert column("sampling_weight") == pytest.approx(weights / weights.sum(), abs=1e-4)
    assert answer["batch"]["weight_sum"] == pytest.approx(weights.sum(), abs=1e-4)
    assert answer["batch"]["positive_ratio"] == kept.mean()


def test_no_value_changes_with_its_neighbours(client: httpx.Client, rollouts: list[dict[str, Any]]) -> None:
    """Sent with a reference of its own each time, so that the cache knows none: together, reversed, alone.

    The released code attends to padding and leaves its dropout on: there the value is another one every time.
    """

    def values(name: str, items: list[dict[str, Any]]) -> list[float]:
        fresh = [{**item, "reference": name} for item in items]
        results = served(client, fresh)["results"]
        assert not any(result["provenance"]["cached"] for result in results)
        return [result["value"] for result in results]

    together = values("together", rollouts)
    again = values("again", rollouts)
    reverse = values("reverse", rollouts[::-1])[::-1]
    alone = [values("alone", [rollout])[0] for rollout in rollouts]
    assert together == pytest.approx(again, abs=1e-5)
    assert together == pytest.approx(reverse, abs=1e-5)
    assert together == pytest.approx(alone, abs=1e-5)
    assert len({round(value, 5) for value in together}) > 5, "the head was meant to tell prompts apart"


def test_a_value_depends_on_the_prompt_alone(client: httpx.Client, rollouts: list[dict[str, Any]]) -> None:
    """Any completion of a prompt is compared with the same value."""
    rollout = rollouts[4]
    other = {**rollout, "completion": rollouts[7]["completion"]}
    one, two = (result["value"] for result in served(client, [rollout, other])["results"])
    assert one == pytest.approx(two, abs=1e-6)


def test_the_log_probability_is_that_of_the_reference_policy(
    client: httpx.Client, folder: Path, rollouts: list[dict[str, Any]]
) -> None:
    """Summed over the tokens that the policy wrote, its end marker included; with it ratios can be made."""
    name = client.get("/info").json()["models"]["sequence reward"]["name"]
    length = len(rollouts[4]["completion"]["token_ids"])
    asked = [*rollouts, {**rollouts[4], "mask": [1] * (length - 2) + [0, 0]}]
    body = {"tokenizer": {"name": name}, "rollouts": asked, "options": {"return_ref_logprob": True}}
    results = client.post("/score/sequence", json=body).json()["results"]
    tokenizer = AutoTokenizer.from_pretrained(folder / "entropy")
    policy = AutoModelForCausalLM.from_pretrained(folder / "entropy").train(mode=False)
    for rollout, result in zip(asked, results, strict=True):
        prompt = tokenizer(rollout["prompt"], add_special_tokens=False)["input_ids"]
        ids = rollout["completion"]["token_ids"]
        with torch.no_grad():
            logits = policy(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].double()
        logprobs = logits.log_softmax(-1)[range(len(ids)), ids].numpy()
        expected = (logprobs * np.array(rollout.get("mask", [1] * len(ids)))).sum()
        assert result["ref_logprob"] == pytest.approx(expected, abs=1e-3)
    assert "ref_logprob" not in served(client, rollouts[:1])["results"][0]
