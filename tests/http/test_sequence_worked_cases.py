"""The worked cases A1 to A6 of papers.md 4.7, through the API, on real models that say what the cases say."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

LOGITS = {"a": 2.0, "b": 0.0, "c": 1.0, "d": -1.0}
VALUES = {"p": 0.7, "q": 0.7, "r": 0.6, "s": 0.1}
ADVANTAGES = [0.180797, -0.2, 0.131059, 0.168941]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the models lie."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def client(folder: Path, hosting: Any, tiny: Any) -> Iterator[httpx.Client]:
    """A service with the reward model and the value head of A1."""
    reward = tiny.reading_off(folder / "reward", LOGITS)
    base, head = tiny.valuing(folder / "value", VALUES)
    sequence = {"engine": "transformers", "model": reward, "value_model": head, "value_base": base}
    with hosting(sequence=sequence) as client:
        yield client


def rollouts(completions: str = "abcd", prompts: str = "pqrs") -> list[dict[str, Any]]:
    """One letter each; truncated, so that the reward model is read on it and not on an end marker."""
    return [
        {"prompt": prompt, "completion": {"text": text, "truncated": True}}
        for prompt, text in zip(prompts, completions, strict=True)
    ]


def score(client: httpx.Client, items: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    """The answer of one call."""
    response = client.post("/score/sequence", json={"rollouts": items, "options": options})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def column(answer: dict[str, Any], name: str) -> list[Any]:
    """One number of each result."""
    return [result[name] for result in answer["results"]]


def test_a1(client: httpx.Client) -> None:
    """Rewards, values, advantages, what is kept, and the weights to draw it by."""
    answer = score(client, rollouts())
    assert [result["raw"]["reward"] for result in answer["results"]] == pytest.approx([2, 0, 1, -1], abs=1e-5)
    assert column(answer, "reward") == pytest.approx([0.880797, 0.5, 0.731059, 0.268941], abs=1e-5)
    assert column(answer, "value") == pytest.approx([0.7, 0.7, 0.6, 0.1], abs=1e-5)
    assert column(answer, "advantage") == pytest.approx(ADVANTAGES, abs=1e-5)
    assert column(answer, "keep") == answer["batch"]["keep"] == [True, False, True, True]
    assert column(answer, "sampling_weight") == pytest.approx([0.376036, 0, 0.272586, 0.351378], abs=2e-5)
    batch = answer["batch"]
    assert (batch["positive_ratio"], batch["n_keep"]) == (0.75, 3)
    assert batch["weight_sum"] == pytest.approx(0.480797, abs=1e-5)
    assert int(9000 * batch["positive_ratio"]) == 6750
    assert answer["recipe"]["options"]["value_source"] == "head"
    assert answer["recipe"]["options"]["baseline"].startswith("A-LoL")


def test_a1_with_values_of_the_caller(client: httpx.Client) -> None:
    """`provided` is the same arithmetic."""
    items = [{**item, "value": value} for item, value in zip(rollouts(), [0.7, 0.7, 0.6, 0.1], strict=True)]
    answer = score(client, items, value_source="provided")
    assert column(answer, "advantage") == pytest.approx(ADVANTAGES, abs=1e-5)
    assert column(answer, "sampling_weight") == pytest.approx([0.376036, 0, 0.272586, 0.351378], abs=2e-5)


def test_a1_good_random(client: httpx.Client) -> None:
    """All that are kept alike."""
    answer = score(client, rollouts(), sampling="good_random")
    assert column(answer, "sampling_weight") == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3])


def clipped_ratio(reference: float, own: float, eps: float) -> float:
    """What the trainer makes of two negative log-likelihoods."""
    return min(max(math.exp(reference - own), 1 - eps), 1 + eps)


def test_a2_and_a3(client: httpx.Client) -> None:
    """Ratios move with the policy and are the trainer's: our advantage and our eps give the losses of the case."""
    answer = score(client, rollouts())
    advantage, eps = answer["results"][0]["advantage"], answer["recipe"]["options"]["eps"]
    assert math.exp(50 - 49.2) == pytest.approx(2.225541, abs=1e-6)
    assert clipped_ratio(50, 49.2, eps) == pytest.approx(1.9)
    assert clipped_ratio(46, 49.2, eps) == pytest.approx(0.1)
    assert advantage * clipped_ratio(50, 49.2, eps) * 49.2 == pytest.approx(16.900911, abs=1e-3)
    assert advantage * 49.2 == pytest.approx(8.895216, abs=1e-3)
    assert advantage * 49.2 + 0.05 * (50 - 49.2) == pytest.approx(8.935216, abs=1e-3)


def test_a4(client: httpx.Client) -> None:
    """The variant that weighs each token by its own ratio."""
    answer = score(client, rollouts())
    advantage, eps = answer["results"][0]["advantage"], answer["recipe"]["options"]["eps"]
    pairs = zip([1, 2, 0.5], [0.8, 3.5, 0.5], strict=True)
    total = sum(clipped_ratio(reference, own, eps) * own for reference, own in pairs)
    assert total == pytest.approx(2.258077, abs=1e-6)
    assert advantage * total == pytest.approx(0.408254, abs=2e-5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("word", 0.1), ("one two three", 3**-0.5 * 0.3), ("one two three four five", 5**-0.5)],
)
def test_a5(client: httpx.Client, text: str, expected: float) -> None:
    """Short completions have a tenth for each of their words."""
    diversity = {"name": "diversity", "kind": "tfidf_diversity"}
    item = {"prompt": "p", "completion": {"text": text}}
    answer = score(client, [item], components=[diversity], value_source="none")
    assert answer["results"][0]["components"] == {"diversity": pytest.approx(expected)}


def test_a6(client: httpx.Client) -> None:
    """Nothing is better than the reference policy: weights of 0, a ratio of 0, and no division by it."""
    answer = score(client, rollouts(completions="bd", prompts="pq"))
    assert all(advantage < 0 for advantage in column(answer, "advantage"))
    assert column(answer, "sampling_weight") == [0.0, 0.0]
    assert answer["batch"] == {"positive_ratio": 0.0, "keep": [False, False], "n_keep": 0, "weight_sum": 0.0}


def test_the_value_is_max_value_times_a_sigmoid(folder: Path, hosting: Any, tiny: Any) -> None:
    """A head over rewards up to 4."""
    base, head = tiny.valuing(folder / "four", {"p": 0.7, "q": 0.25}, max_value=4.0)
    sequence = {"engine": "fake", "value_model": head, "value_base": base}
    with hosting(sequence=sequence) as client:
        answer = score(client, rollouts(completions="ab", prompts="pq"))
    assert column(answer, "value") == pytest.approx([2.8, 1.0], abs=1e-5)


def test_padding_is_not_attended_to(client: httpx.Client) -> None:
    """A head that looks everywhere alike gives the mean of a prompt's letters, whoever stands beside it."""
    # Many at once, told apart by their references: whatever waits together is read together.
    items = [
        {"prompt": prompt, "reference": str(copy), "completion": {"text": "a", "truncated": True}}
        for copy in range(20)
        for prompt in ("p", "ps", "s" * 40)
    ]
    logits = [math.log(value / (1 - value)) for value in (0.7, 0.1)]
    both = 1 / (1 + math.exp(-sum(logits) / 2))
    together = column(score(client, items), "value")
    assert together == pytest.approx([0.7, both, 0.1] * 20, abs=1e-5)
