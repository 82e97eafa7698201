"""The defects of RLMEC's released code (papers.md 3.1, 3.2) over HTTP: strict mode has none of them.

Each test fails on what the released code does; where compat mode imitates it, that stands beside.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

WRONG = "  48 / 2 = 24\n48 + 24 = 62\nA: 62"
RIGHT = "48 / 2 = 24\n48 + 24 = 72\nA: 72"
ODDS = {":": ("a", 0.95), "a": ("b", 0.6)}
Rewriting = Callable[..., dict[str, Any]]


def test_a_wrong_solution_is_never_called_right(rewrite: Rewriting) -> None:
    """Nothing was found wrong in it: the released code then mends its last line and stores it as a right one."""
    strict = rewrite(WRONG, "correct", "A: 72", reference="A: 72", rows=["record", "grm"])
    assert (strict["failure"]["kind"], strict["failure"]["critique"]) == ("locate_disagrees", "correct")
    assert "rewritten" not in strict
    compat = rewrite(WRONG, "correct", "A: 72", reference="A: 72", mode="compat", rows=["record"])
    assert (compat["record"]["error_step"], compat["record"]["is_correct"]) == (-1, True)
    assert compat["error_step"] is None


def test_a_wrong_answer_is_noticed_without_the_caller(rewrite: Rewriting) -> None:
    """The same where nobody said that it is wrong but its answer."""
    found = rewrite(WRONG, "correct", "A: 72", reference="A: 72", correct=None)
    assert found["failure"]["kind"] == "locate_disagrees"


def test_the_rewriter_sees_no_line_break_that_training_never_showed(rewrite: Rewriting, critic: Any) -> None:
    """Its answer begins as the prediction did, with nothing in front of an error in the first line."""
    assert rewrite("A: 5", "[0]", "A: 72")["rewritten"] == "A: 72"
    assert [message["role"] for message in critic.bodies[-1]["messages"]] == ["user"]
    rewrite(WRONG, "[1]", "A: 72")
    assert critic.bodies[-1]["messages"][-1] == {"role": "assistant", "content": "  48 / 2 = 24\n"}
    assert rewrite("A: 5", "[0]", "A: 72", mode="compat")["rewritten"] == "\nA: 72"


def test_no_copy_of_a_wrong_solution(rewrite: Rewriting) -> None:
    """What teaches a rewriter to copy is a solution that is known to be right, and nothing else."""
    right = rewrite(RIGHT, "", "", reference="A: 72", correct=None, rows=["grm"])
    assert [row["task"] for row in right["training_rows"]] == ["copy"]
    wrong = rewrite(WRONG, "[1]", WRONG.split("\n", 1)[1], reference="A: 72", rows=["grm"])
    assert (wrong["verified"], wrong["edits"], "training_rows" in wrong) == (False, [], False)


def test_the_kept_lines_keep_their_white_space(rewrite: Rewriting) -> None:
    """Indentation, tabs and blank lines; the released code strips every line."""
    text = "  a = 1 \n\n\tb = 2\nA: 5"
    strict = rewrite(text, "[3]", "A: 72")
    compat = rewrite(text, "[3]", "A: 72", mode="compat")
    assert (strict["rewritten"], strict["prefix_preserved"]) == ("  a = 1 \n\n\tb = 2\nA: 72", True)
    assert (compat["rewritten"], compat["prefix_preserved"]) == ("a = 1\n\nb = 2\nA: 72", False)


@pytest.mark.parametrize(("mode", "kept"), [("strict", "  48 / 2 = 24\n"), ("compat", "48 / 2 = 24\n")])
def test_a_server_that_starts_anew_doubles_nothing(rewrite: Rewriting, mode: str, kept: str) -> None:
    """The rewriter's server does not go on from the kept lines but repeats them."""
    found = rewrite(WRONG, "[1]", f"{kept}48 + 24 = 72\nA: 72", reference="A: 72", mode=mode)
    assert (found["rewritten"], found["verified"]) == (f"{kept}48 + 24 = 72\nA: 72", True)


@pytest.mark.parametrize(
    ("answer", "verified"),
    [(": 72", True), ("The answer is: 72", True), ("72 dollars", True), ("72.00005", True), (r"\boxed{72}", True),
     ("73", False)],
)  # fmt: skip
def test_a_leading_colon_is_no_part_of_the_answer(rewrite: Rewriting, answer: str, verified: bool) -> None:
    """The released checker finds that `: 72` is not 72, although its own example is written so."""
    found = rewrite("A: 5", "[0]", answer, reference="The answer is 72")
    assert found["verified"] is verified


def test_the_same_prediction_in_two_problems(service: httpx.Client, critic: Any) -> None:
    """Both are answered, each by its own reference; the released code drops the second."""
    critic.reply = lambda prompt: "[0]" if "The first error step is" in prompt else "A: 72"
    rollouts = [
        {"prompt": prompt, "reference": reference, "completion": {"text": "A: 5"}}
        for prompt, reference in (("first?", "A: 72"), ("second?", "A: 18"))
    ]
    results = service.post("/rewrite", json={"rollouts": rollouts}).json()["results"]
    assert [result["verified"] for result in results] == [True, False]
    assert len({result["provenance"]["key"] for result in results}) == 2


@pytest.fixture(scope="module")
def merging(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> str:
    """A rewriter in whose tokenizer the prompt's last character and the completion's first one are one token."""
    rows = {
        before: {letter: math.log(odds), "z": math.log(1 - odds)} for before, (letter, odds) in ODDS.items()
    }
    rows["b"] = {"<end>": math.log(0.5), "z": math.log(0.5)}
    folder: str = tiny.predicting(tmp_path_factory.mktemp("merging"), rows, tiny.letter_tokenizer((":", "a")))
    return folder


@pytest.fixture(scope="module")
def prober(merging: str, hosting: Any) -> Iterator[httpx.Client]:
    """A service that pays by it."""
    with hosting(rewriter={"engine": "transformers", "model": merging}) as client:
        yield client


def test_no_token_is_paid_for_its_neighbour(
    prober: httpx.Client, merging: str, letters: Any, tiny: Any
) -> None:
    """The prompt ends in `:`, the completion begins with `a`, and `:a` is a token: nothing shifts by one."""
    end = tiny.letter_tokenizer((":", "a")).eos_token_id
    ids = [*letters("ab", False), end]
    item = {"prompt": "x", "reference": "ab", "correct": True, "completion": {"token_ids": ids}}
    body = {"method": "grm", "tokenizer": {"name": merging}, "rollouts": [item]}
    (result,) = prober.post("/score/token", json=body).json()["results"]
    assert result["probs"] == pytest.approx([0.95, 0.6, 0.5], abs=1e-5)
    assert result["rewards"] == pytest.approx([0.45, 0.1, 0], abs=1e-5)
