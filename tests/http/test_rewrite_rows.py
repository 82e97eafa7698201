"""Training rows, from the request to what a trainer loads.

The loader is written from the field list of papers.md (3.1 to 3.3, 5.4) and shares no code with the service.
"""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from transformers import AutoTokenizer

RECORD = {
    "question": str,
    "solution": str,
    "prediction": str,
    "error_step": int,
    "error_token": str,
    "correct_step": str,
    "fix_pred": str,
    "is_correct": bool,
}
RLMEC = {
    "input": str,
    "output": str,
    "regular": str,
    "reward": list,
    "ref_prob": list,
    "weight_regular": list,
}
PARTS = ("### Instruction:\n", "### Input:\nProblem: ", "### Response:")


def fields(row: dict[str, Any], shape: dict[str, type]) -> None:
    """Fail unless the row has these fields, in this order, of these types."""
    assert list(row) == list(shape)
    assert all(type(row[name]) is kind for name, kind in shape.items()), row


def load_rlmec(path: Path, tokenizer: Any) -> list[dict[str, Any]]:
    """What the paper's trainer feeds its model: ids of output and of the rewrite with what each is worth."""
    loaded = []
    for line in path.read_text().splitlines():
        row = json.loads(line)
        fields(row, RLMEC)
        ids, target = (
            tokenizer(row[name] + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
            for name in ("output", "regular")
        )
        assert len(row["reward"]) == len(row["ref_prob"]) == len(ids)
        assert len(row["weight_regular"]) == len(target)
        assert ids[-1] == target[-1] == tokenizer.eos_token_id
        assert all(math.isfinite(value) for name in ("reward", "ref_prob") for value in row[name])
        assert all(value <= 0 for value in row["ref_prob"])
        assert set(row["weight_regular"]) <= {0.5, 1.0}
        loaded.append({**row, "ids": ids, "target": target})
    return loaded


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> str:
    """A rewriter that writes `ab`, whatever it is shown, and finds `c` unlikely behind `a`."""
    rows = {
        ":": {"a": math.log(0.9), "b": math.log(0.1)},
        "a": {"b": math.log(0.8), "c": math.log(0.2)},
        "b": {"<end>": math.log(0.7), "a": math.log(0.3)},
        "c": {"<end>": math.log(0.45), "a": math.log(0.55)},
    }
    made: str = tiny.predicting(tmp_path_factory.mktemp("rewriter"), rows)
    return made


@pytest.fixture(scope="module")
def rewriter(folder: str, hosting: Any) -> Iterator[httpx.Client]:
    """A service that corrects and pays by it; it is its own reference policy."""
    settings = {"engine": "transformers", "model": folder, "reference_model": folder, "max_model_len": 4096}
    with hosting(rewriter=settings) as client:
        yield client


def corrected(client: httpx.Client, folder: str, *completions: Any, **how: Any) -> list[dict[str, Any]]:
    """The results of completions whose right answer is `ab`, with all rows."""
    body = {
        "tokenizer": {"name": folder},
        "rollouts": [
            {"id": str(index), "prompt": "say it:", "reference": "ab", "completion": completion}
            for index, completion in enumerate(completions)
        ],
        "options": {
            "locate": False,
            "verify": {"mode": "qa"},
            "rows": ["record", "grm", "rlmec"],
            "max_tokens": 9,
        },
        **how,
    }
    response = client.post("/rewrite", json=body)
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    return results


@pytest.mark.parametrize("mode", ["strict", "compat"])
def test_an_exported_file_loads(
    rewriter: httpx.Client, folder: str, letters: Any, tmp_path: Path, mode: str
) -> None:
    """Wrong and right completions, with and without their end marker and cut off: lengths and all."""
    sent = [
        {"token_ids": letters("ac")},
        {"token_ids": letters("ac", False)},
        {"text": "ac"},
        {"token_ids": letters("ac", False), "truncated": True},
        {"token_ids": letters("ab")},
    ]
    results = corrected(rewriter, folder, *sent, mode=mode)
    assert [(result["status"], result["verified"]) for result in results] == [("ok", True)] * 5, results
    file = tmp_path / "rlmec.jsonl"
    file.write_text("".join(json.dumps(result["rlmec_row"]) + "\n" for result in results))
    rows = load_rlmec(file, AutoTokenizer.from_pretrained(folder))
    assert [(row["input"], row["output"], row["regular"]) for row in rows] == [
        *[("say it:", "ac", "ab")] * 4,
        ("say it:", "ab", "ab"),
    ]
    assert [row["reward"] for row in rows] == [
        *[pytest.approx([0, -0.1, -0.05], abs=1e-5)] * 3,
        pytest.approx([0, -0.1, 0], abs=1e-5),
        pytest.approx([0.4, 0.3, 0.2], abs=1e-5),
    ]
    assert rows[0]["ref_prob"] == pytest.approx([math.log(odds) for odds in (0.9, 0.2, 0.45)], abs=1e-4)
    assert rows[0]["weight_regular"] == [0.5, 1.0, 0.5]
    assert rows[4]["weight_regular"] == [0.5] * 3


def test_records_load(rewriter: httpx.Client, folder: str, letters: Any) -> None:
    """Eight fields; -1 stands for a right prediction and for no other."""
    wrong, right = corrected(rewriter, folder, *({"token_ids": letters(text)} for text in ("ac", "ab")))
    for result in (wrong, right):
        fields(result["record"], RECORD)
    assert wrong["record"] == {
        "question": "say it:",
        "solution": "ab",
        "prediction": "ac",
        "error_step": 0,
        "error_token": "",
        "correct_step": "",
        "fix_pred": "ab",
        "is_correct": True,
    }
    assert right["record"]["error_step"] == -1


def test_tokens_that_a_trainer_would_not_read_back_make_no_row(
    rewriter: httpx.Client, folder: str, tiny: Any, tmp_path: Path
) -> None:
    """The policy wrote `a` and `b` where its tokenizer joins them: lengths would not fit, so there is no row."""
    tokenizer = tiny.letter_tokenizer(("a", "b"))
    tokenizer.save_pretrained(tmp_path)
    ids = [*tokenizer.convert_tokens_to_ids(["a", "b"]), tokenizer.eos_token_id]
    (result,) = corrected(rewriter, folder, {"token_ids": ids}, tokenizer={"name": str(tmp_path)})
    assert (result["status"], result["verified"]) == ("ok", True)
    assert "rlmec_row" not in result
    assert "record" in result


def test_rows_that_cannot_be_made_are_refused_at_the_door(
    rewriter: httpx.Client, service: httpx.Client, folder: str
) -> None:
    """Without the policy's tokenizer, or without a model that weighs tokens."""
    body = {"rollouts": [{"reference": "ab", "completion": {"text": "ac"}}], "options": {"rows": ["rlmec"]}}
    unnamed = rewriter.post("/rewrite", json=body)
    assert (unnamed.status_code, unnamed.json()["pointer"]) == (422, "/tokenizer")
    weightless = service.post("/rewrite", json={**body, "tokenizer": {"name": folder}})
    assert (weightless.status_code, weightless.json()["pointer"]) == (422, "/options/rows")


def test_what_a_rewriter_learns_from(rewrite: Callable[..., dict[str, Any]]) -> None:
    """Locate, rewrite and copy rows in the paper's wrapper; the first is labelled, the others are not."""
    wrong, right = "48 / 2 = 24\n48 + 24 = 62\nA: 62", "48 / 2 = 24\n48 + 24 = 72\nA: 72"
    said = ("The first error step is [1]", "48 + 24 = 72\nA: 72")
    result = rewrite(wrong, *said, reference=right, rows=["grm"])
    locate, fix = result["training_rows"]
    (copy,) = rewrite(right, "", "", reference=right, correct=None, rows=["grm"])["training_rows"]
    for row in (locate, fix, copy):
        fields(row, {"task": str, "input": str, "output": str})
        assert all(part in row["input"] for part in PARTS)
    assert (locate["task"], locate["output"]) == ("locate", "The first error step is [1]")
    assert "\n[1] 48 + 24 = 62\n" in locate["input"]
    assert (fix["task"], fix["output"]) == ("rewrite", right)
    assert fix["input"].endswith(f"Prediction: {wrong}\n\n### Response:\nCorrect prediction:")
    assert (copy["task"], copy["output"]) == ("copy", right)
