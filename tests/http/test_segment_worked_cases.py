"""The worked cases S1 to S8 of papers.md 2.7, through the API, on real models that say what the cases say."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

VALUES = {"b": 0.5, "e": -0.2, "h": 1.0, "i": 2.0, "z": -0.1}
ENTROPIES = [0.2, 1.9, 0.1, 0.3, 2.5, 0.4, 0.2, 1.8, 0.1, 3.0]
UNIFORM4 = dict.fromkeys("abcd", 0.0)
LOGITS = {
    "p": UNIFORM4,
    "q": dict.fromkeys("abcdefgh", 0.0),
    "r": {"a": 4.0, "b": 0.0, "c": 0.0, "d": 0.0},
    "s": {"a": 0.0},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the models lie."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def client(folder: Path, hosting: Any, tiny: Any) -> Iterator[httpx.Client]:
    """A service on the two models."""
    model = tiny.reading_off(folder / "segment", VALUES)
    entropy = tiny.predicting(folder / "entropy", LOGITS)
    with hosting(model=model, entropy_model=entropy) as client:
        yield client


@pytest.fixture
def score(client: httpx.Client, folder: Path) -> Callable[..., dict[str, Any]]:
    """The result of one completion."""

    def call(
        token_ids: list[int],
        options: dict[str, Any],
        *,
        mode: str = "strict",
        entropies: list[float] | None = None,
        truncated: bool = False,
        **rollout: Any,
    ) -> dict[str, Any]:
        body = {
            "mode": mode,
            "tokenizer": {"name": str(folder / "segment")},
            "rollouts": [
                {
                    "prompt": "x",
                    "completion": {"token_ids": token_ids, "truncated": truncated},
                    **({} if entropies is None else {"entropies": entropies}),
                    **rollout,
                }
            ],
            "options": options,
        }
        response = client.post("/score/segment", json=body)
        assert response.status_code == 200, response.text
        result: dict[str, Any] = response.json()["results"][0]
        return result

    return call


def ends(result: dict[str, Any]) -> list[int]:
    """The last token of each segment."""
    return [segment["token_end"] - 1 for segment in result["segments"]]


@pytest.mark.parametrize("mode", ["strict", "compat"])
def test_s1(score: Any, letters: Any, mode: str) -> None:
    """Cut, read, normalize by the published line, split evenly; the end marker has 0."""
    options = {"c_ent": 1.75, "normalizer": "phi3-instruct"}
    result = score(letters("abcdefghi"), options, mode=mode, entropies=ENTROPIES)
    assert ends(result) == [1, 4, 7, 8]
    table = [
        (0.5, 0.25, -0.592511, 2.477761, 0.440927),
        (-0.2, 0.5, -0.061005, 2.655830, -0.052336),
        (1.0, 0.75, 0.249905, 2.759994, 0.271774),
        (2.0, 1.0, 0.470500, 2.833900, 0.539716),
    ]
    fields = ("raw", "progress", "mean", "std", "reward")
    for segment, row in zip(result["segments"], table, strict=True):
        assert [segment[field] for field in fields] == pytest.approx(row, abs=2e-6)
        assert segment["std_floored"] is False
    tokens = [0.220463] * 2 + [-0.017445] * 3 + [0.090591] * 3 + [0.539716, 0.0]
    assert result["rewards"] == pytest.approx(tokens, abs=2e-6)
    assert sum(result["rewards"]) == pytest.approx(1.20008, abs=1e-5)
    assert result["sequence_score"] == pytest.approx(0.825, abs=1e-6)
    assert [segment["text"] for segment in result["segments"]] == ["ab", "cde", "fgh", "i"]


@pytest.mark.parametrize("mode", ["strict", "compat"])
@pytest.mark.parametrize(
    ("entropies", "options", "expected"),
    [
        ([0, 0, 0, 0, 0, 0], {}, [4]),
        ([0, 0, 0, 0, 0, 0], {"boundary_mode": "bandit"}, [5]),
        ([1, 1, 1, 1, 1, 1], {"c_ent": 0}, [0, 1, 2, 3, 4]),
        ([0, 0, 0, 0, 0, 0], {"boundary_mode": "token"}, [0, 1, 2, 3, 4]),
        ([1.75, 1.75, 0, 0], {"c_ent": 1.75}, [2]),
        ([0, 2, 0, 0, 2, 2], {}, [1, 4]),
        ([0, 0, 0, 0, 0, 2], {}, [4]),
        ([0, 2, 0, 0, 0, 0], {}, [1, 4]),
    ],
)
def test_s2(
    score: Any, letters: Any, mode: str, entropies: list[float], options: dict[str, Any], expected: list[int]
) -> None:
    """The tail rule, in both modes."""
    ids = letters("abcdefgh"[: len(entropies) - 1])
    result = score(ids, {"normalizer": "none", **options}, mode=mode, entropies=entropies)
    assert ends(result) == expected
    assert len(result["rewards"]) == len(ids)


def test_s2_an_end_marker_alone(score: Any, letters: Any) -> None:
    """Strict: no segment and a zero. The released code reads its head on the marker."""
    strict = score(letters(""), {"normalizer": "none"}, entropies=[0.0])
    assert (strict["segments"], strict["rewards"], strict["sequence_score"]) == ([], [0.0], None)
    assert ends(score(letters(""), {"normalizer": "none"}, mode="compat", entropies=[0.0])) == [0]


def test_s2_a_sampler_reports_entropies_one_place_later(score: Any, letters: Any) -> None:
    """The index trap: what the sampler says of token j+1 is what the released code says of token j."""
    sampled = [9.0, *ENTROPIES[:-1]]
    options = {"c_ent": 1.75, "normalizer": "none", "entropy_index": "sampled"}
    assert ends(score(letters("abcdefghi"), options, entropies=sampled)) == [1, 4, 7, 8]


def test_s2_a_truncated_completion(score: Any, letters: Any) -> None:
    """Strict pays the last token; the released code writes its end marker over it."""
    ids, entropies = letters("abcde", ended=False), [0, 2, 0, 0, 0]
    strict = score(ids, {"normalizer": "none"}, entropies=entropies, truncated=True)
    compat = score(ids, {"normalizer": "none"}, mode="compat", entropies=entropies, truncated=True)
    assert (ends(strict), ends(compat)) == ([1, 4], [1, 3])
    assert compat["rewards"][-1] == 0.0
    assert strict["rewards"][-1] == pytest.approx(-0.2 / 3, abs=1e-6)


def test_s2_a_truncated_completion_of_one_token(score: Any, letters: Any) -> None:
    """The released code has an end marker in its place and nothing else, and pays it."""
    ids = letters("b", ended=False)
    strict = score(ids, {"normalizer": "none"}, entropies=[0.0], truncated=True)
    compat = score(ids, {"normalizer": "none"}, mode="compat", entropies=[0.0], truncated=True)
    assert (ends(strict), ends(compat)) == ([0], [0])
    assert strict["rewards"] == pytest.approx([0.5], abs=1e-6)
    assert compat["rewards"] == pytest.approx([0.0], abs=1e-6)


@pytest.mark.parametrize(
    ("interpolation", "expected"),
    [
        ("last", [0, 1, 0, 0, -0.6, 0]),
        ("repeat", [1, 1, -0.6, -0.6, -0.6, 0]),
        ("even", [0.5, 0.5, -0.2, -0.2, -0.2, 0]),
    ],
)
def test_s3(score: Any, letters: Any, interpolation: str, expected: list[float]) -> None:
    """Raw .5 and -.2 become 1 and -.6 by an affine normalizer; then the three ways to spread."""
    scale = {"kind": "affine", "mean": 0.0625, "std": 0.4375}
    options = {"normalizer": scale, "interpolation": interpolation}
    result = score(letters("abcde"), options, entropies=[0, 2, 0, 0, 0, 0])
    assert result["rewards"] == pytest.approx(expected, abs=2e-6)


def test_s4(score: Any, letters: Any) -> None:
    """The entropy model's entropies, in nats: four and eight equal choices, and logits of 4, 0, 0, 0."""
    options = {"normalizer": "none", "return_entropies": True, "c_ent": 1.75}
    result = score(letters("pqrs"), options)
    assert result["entropies"][:4] == pytest.approx([1.386294, 2.079442, 0.26183, 0.0], abs=1e-5)
    assert ends(result) == [1, 3]
    assert math.exp(1.75) == pytest.approx(5.7546, abs=1e-4)


def test_s5(score: Any, letters: Any) -> None:
    """The preference of S1's completion over one that scores -.1, and the bandit's published constants."""
    options = {"normalizer": "none"}
    chosen = score(letters("abcdefghi"), options, entropies=ENTROPIES)["sequence_score"]
    rejected = score(letters("az"), options, entropies=[0, 0, 0])["sequence_score"]
    assert (chosen - rejected) == pytest.approx(0.925, abs=2e-6)
    assert math.log1p(math.exp(rejected - chosen)) == pytest.approx(0.333992, abs=1e-6)
    constants = {
        "phi3-instruct": 0.70471,
        "rlhflow_llama_3_sft_8b_v2": 0.615079,
        "meta_llama_3_1_instruct_8b": 0.62234,
    }
    for name, expected in constants.items():
        options = {"normalizer": name, "boundary_mode": "bandit"}
        bandit = score(letters("ah", ended=False), options, truncated=True)
        assert bandit["segments"][0]["reward"] == pytest.approx(expected, abs=1e-5)


def test_s6(score: Any, letters: Any) -> None:
    """The KL term is the trainer's: taken off our rewards of .3 and -.1, it gives the numbers of the case."""
    scale = {"kind": "affine", "mean": -0.025, "std": 1.75}
    rewards = score(letters("be"), {"normalizer": scale, "boundary_mode": "token"})["rewards"]
    after_kl = [reward - 0.01 * kl for reward, kl in zip(rewards, [0.3, -1.0, 0.0], strict=True)]
    assert after_kl == pytest.approx([0.297, -0.09, 0.0], abs=1e-6)


def test_s8(score: Any, letters: Any) -> None:
    """Token by token the published deviation crosses zero at 246 tokens: floored, or flipped as released."""
    options = {"boundary_mode": "token", "normalizer": "rlhflow_llama_3_sft_8b_v2", "clamp": None}
    just_above = score(letters("a" * 245), {**options, "std_floor": 1e-9})["segments"][0]
    assert (just_above["std"], just_above["std_floored"]) == (pytest.approx(0.001754, abs=1e-6), False)
    floored = score(letters("a" * 246), options)["segments"]
    assert (floored[0]["std"], floored[0]["std_floored"]) == (pytest.approx(0.54513), True)
    assert not floored[-1]["std_floored"]
    released = score(letters("a" * 246), options, mode="compat")["segments"][0]
    assert (released["std"], released["std_floored"]) == (pytest.approx(-0.002281, abs=1e-6), False)
    long = score(letters("a" * 1023), options, mode="compat")["segments"]
    assert [segment["std"] < 0 for segment in long[:5]] == [True, True, True, True, False]
    z = score(letters("a" * 245), options, mode="compat")["segments"][0]["reward"]
    assert z == pytest.approx(4686, rel=2e-3)
    clamped = score(letters("a" * 245), {**options, "clamp": [-10.0, 10.0]}, mode="compat")
    assert clamped["rewards"][0] == 10.0
