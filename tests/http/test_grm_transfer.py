"""The worked case X1 of papers.md 5.7 for method grm: policy and rewriter read different tokens.

X1 at half its size, for probabilities: a rewriter that finds `abcdef` impossible and `ghij` likely at 0.75, and a
policy that wrote `abc`, `defgh`, `ij`. Centred at one half the rewriter's tokens are worth -0.5 and 0.25.
"""

import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

OPEN = {"clip_incorrect": [-1.0, 1.0]}
BY_THE_REWRITER = [
    ("a", "b"),
    ("ab", "c"),
    ("abc", "d"),
    ("abcd", "e"),
    ("abcde", "f"),
    ("g", "h"),
    ("gh", "i"),
    ("ghi", "j"),
]
BY_THE_POLICY = [("a", "b"), ("ab", "c"), ("d", "e"), ("de", "f"), ("def", "g"), ("defg", "h"), ("i", "j")]


@pytest.fixture(scope="module")
def rewriter(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> str:
    """A rewriter whose tokens are (0,6) and (6,10); it is its own reference policy."""
    rows = {
        ":": {"z": 0.0},
        "abcdef": {"ghij": math.log(0.75), "z": math.log(0.25)},
        "ghij": {"<end>": math.log(0.5), "z": math.log(0.5)},
    }
    tokenizer = tiny.letter_tokenizer(*BY_THE_REWRITER)
    made: str = tiny.predicting(tmp_path_factory.mktemp("rewriter"), rows, tokenizer)
    return made


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> dict[str, Any]:
    """The policy's tokenizer, and its ids of the completion: (0,3), (3,8), (8,10) and an end marker."""
    folder = tmp_path_factory.mktemp("policy")
    tokenizer = tiny.letter_tokenizer(*BY_THE_POLICY)
    tokenizer.save_pretrained(folder)
    ids = [*tokenizer("abcdefghij", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    assert len(ids) == 4
    return {"tokenizer": {"name": str(folder)}, "token_ids": ids}


@pytest.fixture(scope="module")
def prober(rewriter: str, hosting: Any) -> Iterator[httpx.Client]:
    """A service that pays by it."""
    settings = {"engine": "transformers", "model": rewriter, "reference_model": rewriter}
    with hosting(rewriter=settings) as client:
        yield client


def probe(client: httpx.Client, policy: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The whole answer for the completion."""
    item = {
        "prompt": "x:",
        "reference": "y",
        "correct": False,
        "completion": {"token_ids": policy["token_ids"]},
    }
    body = {
        "method": "grm",
        "tokenizer": policy["tokenizer"],
        "rollouts": [item],
        "options": {**OPEN, **options},
    }
    answer: dict[str, Any] = client.post("/score/token", json=body).json()
    return answer


def test_x1_for_grm(prober: httpx.Client, policy: dict[str, Any]) -> None:
    """Per-token scores go by the mean over characters, the end marker by itself; the answer says what was done."""
    answer = probe(prober, policy, tokenizer_policy="transfer")
    (result,) = answer["results"]
    assert result["offsets"] == [[0, 3], [3, 8], [8, 10], [10, 10]]
    assert result["rewards"] == pytest.approx([-0.5, -0.2, 0.25, 0.0], abs=1e-5)
    assert result["probs"] == pytest.approx([0.0, 0.3, 0.75, 0.5], abs=1e-5)
    assert result["transferred"] is True
    assert answer["recipe"]["options"]["tokenizer_policy"] == "transfer"


def test_log_probabilities_keep_their_sum(prober: httpx.Client, policy: dict[str, Any]) -> None:
    """Those of the reference add up to what its own tokens have."""
    (result,) = probe(prober, policy, tokenizer_policy="transfer")["results"]
    own = result["ref_logprobs"]
    assert own[2] == pytest.approx(math.log(0.75) / 2, abs=1e-4)
    assert own[3] == pytest.approx(math.log(0.5), abs=1e-4)
    assert own[1] / own[0] == pytest.approx(1, abs=1e-2)


def test_without_transfer_other_tokens_are_refused(prober: httpx.Client, policy: dict[str, Any]) -> None:
    """The rollout fails alone, has no rewards, and says what to do."""
    (result,) = probe(prober, policy)["results"]
    assert result["failure"]["kind"] == "unaligned"
    assert "transfer" in result["failure"]["detail"]
    assert "rewards" not in result
