"""The worked cases G1 to G4 of papers.md 3.5 through the API, by a scripted rewriter and by a model of known odds."""

import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import assay

MODES = ("strict", "compat")
ODDS = {
    ":": ("a", 0.95),
    "a": ("b", 0.6),
    "b": ("c", 0.5),
    "c": ("d", 0.47),
    "d": ("e", 0.45),
    "e": ("f", 0.35),
}
INCORRECT = [0, 0, 0, -0.03, -0.05, -0.1, -0.1]
CORRECT = [0.45, 0.1, 0, 0, 0, 0, 0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> str:
    """A rewriter whose probabilities are those of G1, the end marker's last."""
    rows = {
        before: {letter: math.log(odds), "z": math.log(1 - odds)} for before, (letter, odds) in ODDS.items()
    }
    rows["f"] = {"<end>": math.log(0.02), "z": math.log(0.98)}
    made: str = tiny.predicting(tmp_path_factory.mktemp("rewriter"), rows)
    return made


@pytest.fixture(scope="module")
def prober(folder: str, hosting: Any) -> Iterator[httpx.Client]:
    """A service that pays by it; it is its own reference policy."""
    with hosting(rewriter={"engine": "transformers", "model": folder, "reference_model": folder}) as client:
        yield client


def probe(
    client: httpx.Client, folder: str, ids: list[int], mode: str = "strict", **rollout: Any
) -> dict[str, Any]:
    """The result of one completion under method grm."""
    item = {"prompt": "x:", "reference": "abc", "completion": {"token_ids": ids}, **rollout}
    body = {"method": "grm", "mode": mode, "tokenizer": {"name": folder}, "rollouts": [item]}
    response = client.post("/score/token", json=body)
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()["results"][0]
    return result


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("correct", "rewards"), [(False, INCORRECT), (True, CORRECT)])
def test_g1(
    prober: httpx.Client, folder: str, letters: Any, mode: str, correct: bool, rewards: list[float]
) -> None:
    """Centred at one half and clipped by branch, the end marker included."""
    result = probe(prober, folder, letters("abcdef"), mode, correct=correct)
    assert result["status"] == "ok", result
    assert result["probs"] == pytest.approx([0.95, 0.6, 0.5, 0.47, 0.45, 0.35, 0.02], abs=1e-5)
    assert result["rewards"] == pytest.approx(rewards, abs=1e-5)
    assert result["branch"] == ("correct" if correct else "incorrect")


@pytest.mark.parametrize("mode", MODES)
def test_g3_the_trainer_s_loss_from_what_the_service_sends(
    prober: httpx.Client, folder: str, letters: Any, mode: str
) -> None:
    """Log-probabilities under the policy's own prompt come along; the case's arithmetic is the trainer's."""
    result = probe(prober, folder, letters("abcdef"), mode, correct=False)
    assert result["ref_logprobs"] == pytest.approx([math.log(prob) for prob in result["probs"]], abs=1e-4)
    rows = [(-1, -1.5, 0.4), (-3, -2, -0.1), (-0.5, -1.5, -0.1), (-2, -1, 0.4)]
    losses = []
    for own, reference, reward in rows:
        ratio = math.exp(own - reference)
        losses.append(-own * min(ratio * reward, min(max(ratio, 0.7), 1.3) * reward))
    assert losses == pytest.approx([0.52, -0.21, -0.135914, 0.294304], abs=1e-6)


def test_the_client_reads_it(prober: httpx.Client, folder: str, letters: Any) -> None:
    """``Probed`` holds what came over the wire, the end marker's worth beside it where the completion had none."""
    item = {"prompt": "x:", "reference": "abc", "completion": {"token_ids": letters("abcdef", False)}}
    with assay.Client(str(prober.base_url)) as client:
        answer = client.score_token([{**item, "correct": False}], method="grm", tokenizer={"name": folder})
    (result,) = answer.results
    assert isinstance(result, assay.Probed)
    assert result.rewards == result.intrinsic == pytest.approx(INCORRECT[:-1], abs=1e-5)
    assert (result.branch, result.all_zero, len(result.ref_logprobs or ())) == ("incorrect", False, 6)
    assert result.end is not None
    assert result.end["reward"] == pytest.approx(INCORRECT[-1])


def test_grm_refuses_to_guess(prober: httpx.Client, folder: str, letters: Any) -> None:
    """Without a reference, or where nobody knows the branch: it fails alone and has no rewards."""
    unreferenced = probe(prober, folder, letters("abc"), reference=None, correct=False)
    unknown = probe(prober, folder, letters("abc"), reference="a\nb")
    assert [result["failure"]["kind"] for result in (unreferenced, unknown)] == ["invalid", "invalid"]
    assert "rewards" not in unknown


G2 = [
    ("ABCD", "AXCD", 1, [1], [1]),
    ("AB", "AXB", 1, [1], [1]),
    ("AXB", "AB", 1, [], [0]),
    ("B", "AB", 1, [0], []),
    ("AB", "B", 1, [], []),
    ("AAB", "AB", 1, [], []),
    ("AB", "ABCD", 2, [2, 3], [2, 3]),
    ("XYZ", "AB", 3, [0, 1], [0, 1]),
    ("Soabcdef", "Sogf", 5, [2], [2]),  # She sold 24 / 2 = 12 clips -> She sold 48 clips
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("source", "target", "distance", "strict", "compat"), G2)
def test_g2(
    rewrite: Any, mode: str, source: str, target: str, distance: int, strict: list[int], compat: list[int]
) -> None:
    """Letters for words: which tokens of the rewrite weigh 1; compat keeps the quirks of the released traceback."""
    prefilled = mode == "strict"
    fixed = target if prefilled else target.removeprefix("\n")
    result = rewrite(source, "The first error step is [0]", fixed, mode=mode, prefill_before_error=prefilled)
    assert result["status"] == "ok", result
    assert (result["rewritten"], result["edit_distance"]) == (target, distance)
    changed = [index for index, weight in enumerate(result["weights"]) if weight == 1.0]
    assert changed == (strict if mode == "strict" else compat)
    assert len(result["weights"]) == len(target) + 1
    text = source
    for edit in reversed(result["edits"]):
        text = text[: edit["start"]] + edit["replacement"] + text[edit["end"] :]
    assert text == target


LINES = "\n".join(f"step {number}" for number in range(14))


@pytest.mark.parametrize(
    ("said", "mode", "step"),
    [
        ("The first error step is [2]", "strict", 2),
        ("The first error step is [2]", "compat", 2),
        ("[12]", "strict", 12),
        ("[12]", "compat", 1),
        ("incorrect at [1]", "strict", 1),
    ],
)
def test_g4_labels(rewrite: Any, said: str, mode: str, step: int) -> None:
    """Several digits are one label, and "incorrect" is not "correct"; the released code reads one digit."""
    result = rewrite(LINES, said, "step 99", mode=mode)
    assert (result["status"], result["error_step"]) == ("ok", step), result


@pytest.mark.parametrize(
    ("said", "kind"), [("correct", "locate_disagrees"), ("unknown", "unparseable"), ("[14]", "unparseable")]
)
def test_g4_what_is_no_label_fails_the_rollout(rewrite: Any, said: str, kind: str) -> None:
    """A wrong solution in which no step was found wrong never enters the positive branch."""
    result = rewrite(LINES, said, "step 99")
    assert result["failure"]["kind"] == kind
    assert "rewritten" not in result


def test_what_stands_before_the_error_is_kept_byte_by_byte(rewrite: Any) -> None:
    """Indentation, blank lines and odd spaces of the kept steps."""
    text = "  two  spaces\n\n\ttab\nwrong"
    result = rewrite(text, "The first error step is [3]", "right")
    assert result["rewritten"] == "  two  spaces\n\n\ttab\nright"
    assert result["prefix_preserved"] is True


def test_a_rewrite_that_changes_nothing_is_not_verified(rewrite: Any) -> None:
    """The prediction was wrong, so its copy is."""
    result = rewrite("AB", "The first error step is [0]", "AB")
    assert (result["verified"], result["edit_distance"]) == (False, 0)
