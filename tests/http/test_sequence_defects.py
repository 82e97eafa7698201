"""The defects of the released A-LoL code (papers.md 4.2, 4.3), one test each, on models of known numbers.

That the best epoch is chosen by held-out error, and that dropout ends where measuring begins, is in
`tests/training/test_value.py`; that no value changes with its neighbours, in `test_sequence_recomputation.py`.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

LOGITS = {"a": 2.0, "b": 0.0, "c": 1.0, "d": -1.0}
REWARDS = {"a": 0.880797, "b": 0.5, "c": 0.731059, "d": 0.268941}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, hosting: Any, tiny: Any) -> Iterator[httpx.Client]:
    """A reward model that reads letters off, and a value head that finds p worth 0.6."""
    folder = tmp_path_factory.mktemp("defects")
    base, head = tiny.valuing(folder / "value", {"p": 0.6, "q": 0.95})
    reward = tiny.reading_off(folder / "reward", LOGITS)
    sequence = {"engine": "transformers", "model": reward, "value_model": head, "value_base": base}
    with hosting(sequence=sequence) as client:
        yield client


def score(client: httpx.Client, texts: list[str], prompt: str = "p", **options: Any) -> dict[str, Any]:
    """The answer of one call over completions of one prompt."""
    rollouts = [{"prompt": prompt, "completion": {"text": text, "truncated": True}} for text in texts]
    response = client.post("/score/sequence", json={"rollouts": rollouts, "options": options})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_padding_stays_out_of_the_value(client: httpx.Client) -> None:
    """A missing key mask: beside a prompt of sixty letters, one letter has the value that it has alone."""
    alone = score(client, ["a"])["results"][0]["value"]
    rollouts = [
        {"prompt": prompt, "reference": str(copy), "completion": {"text": "a"}}
        for copy in range(30)
        for prompt in ("p", "p" * 40, "q" * 60)
    ]
    beside = client.post("/score/sequence", json={"rollouts": rollouts}).json()["results"]
    assert [result["value"] for result in beside[::3]] == pytest.approx([alone] * 30, abs=1e-6)


def test_a_value_is_not_drawn_by_lot(client: httpx.Client) -> None:
    """Dropout at use: every rollout of a prompt, computed anew, has the same value."""
    rollouts = [{"prompt": "p", "reference": f"lot {copy}", "completion": {"text": "a"}} for copy in range(8)]
    results = client.post("/score/sequence", json={"rollouts": rollouts}).json()["results"]
    assert not any(result["provenance"]["cached"] for result in results)
    assert max(one["value"] for one in results) - min(one["value"] for one in results) < 1e-6


def test_the_advantage_that_is_told_is_the_one_that_weighs(client: httpx.Client) -> None:
    """A clamp in the loss: what is below zero is told as it is, and the weights are made of the same numbers."""
    answer = score(client, ["a", "b", "c", "d"])
    advantages = [result["advantage"] for result in answer["results"]]
    assert advantages == pytest.approx([REWARDS[letter] - 0.6 for letter in "abcd"], abs=1e-5)
    assert min(advantages) < 0
    total = sum(max(advantage, 0) for advantage in advantages)
    for result in answer["results"]:
        assert result["sampling_weight"] == pytest.approx(max(result["advantage"], 0) / total)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_a_rollout_that_failed_shifts_nobody_s_numbers(client: httpx.Client, place: int) -> None:
    """Shifted indices: each result, and each place of `keep`, is of the rollout that was sent there."""
    texts = ["a", "b", "c"]
    texts.insert(place, "")
    answer = score(client, texts)
    for text, result, kept in zip(texts, answer["results"], answer["batch"]["keep"], strict=True):
        if not text:
            assert (result["status"], kept) == ("failed", None)
            continue
        assert result["reward"] == pytest.approx(REWARDS[text], abs=1e-5)
        assert result["keep"] is kept is (text in "ac")
        assert (result["sampling_weight"] > 0) is kept
    assert answer["batch"]["positive_ratio"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("sampling", ["good_priority", "good_random"])
def test_nothing_to_keep_is_divided_by_nothing(client: httpx.Client, sampling: str) -> None:
    """Divide by zero: the value of q is beyond all rewards, of one rollout and of several."""
    for texts in (["a"], ["a", "b", "d"]):
        answer = score(client, texts, prompt="q", sampling=sampling)
        assert [result["sampling_weight"] for result in answer["results"]] == [0.0] * len(texts)
        assert (answer["batch"]["positive_ratio"], answer["batch"]["weight_sum"]) == (0.0, 0.0)


def test_a_call_of_failures_has_no_ratio(client: httpx.Client) -> None:
    """Nothing was judged, so no share of it is good: null, not zero and not a division."""
    answer = score(client, ["", " "])
    assert answer["batch"] == {
        "positive_ratio": None,
        "keep": [None, None],
        "n_keep": None,
        "weight_sum": None,
    }


def test_advantages_are_of_one_value_however_often_they_are_asked_for(client: httpx.Client) -> None:
    """Recomputed values: sampling and loss would differ; here the second answer is the first."""
    first, second = (score(client, ["a", "c"], eps=0.8) for _ in range(2))
    assert [result["advantage"] for result in first["results"]] == [
        result["advantage"] for result in second["results"]
    ]
    assert all(result["provenance"]["cached"] for result in second["results"])
