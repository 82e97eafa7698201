"""``/rewrite`` on the wire: what people read, what checks an answer, what guides a correction without a reference."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

TEXT = "She had 48.\n  48 + 24 = 62\nA: 62"
FIXED = "She had 48.\n  48 + 24 = 72\nA: 72"
HOOK = """
def ends_alike(text, gold):
    if text.endswith("?"):
        return None
    if text.endswith("!"):
        raise RuntimeError("no idea")
    return text[-1] == gold[-1]
"""


@pytest.mark.parametrize("mode", ["strict", "compat"])
def test_what_a_person_and_a_trainer_read(rewrite: Callable[..., dict[str, Any]], mode: str) -> None:
    """Edits in characters with the tokens that hold them; operations in tokens, with both sides; in both modes."""
    result = rewrite(TEXT, "[1]", "  48 + 24 = 72\nA: 72", reference="A: 72", mode=mode)
    assert (result["rewritten"], result["prefix_preserved"]) == (FIXED, True)
    edits = result["edits"]
    assert [TEXT[edit["start"] : edit["end"]] for edit in edits] == ["6", "6"]
    assert [(edit["token_start"], edit["token_end"]) for edit in edits] == [
        (edit["start"], edit["end"]) for edit in edits
    ]
    assert {edit["replacement"] for edit in edits} == {"7"}
    changed = [step for step in result["operations"] if step["op"] != "keep"]
    assert [(step["op"], step["source_text"], step["target_text"]) for step in changed] == [
        ("replace", "6", "7")
    ] * 2
    assert (result["edit_distance"], result["edit_ratio"]) == (2, pytest.approx(2 / (len(FIXED) + 1)))
    assert result["weights"].count(1.0) == 2
    assert len(result["weights"]) == len(result["token_ids"]) + 1 == len(FIXED) + 1


def test_a_completion_without_a_tokenizer(service: httpx.Client, critic: Any) -> None:
    """Edits are in the trainer's tokens all the same; operations are in the service's own, and the answer says so."""
    critic.reply = lambda prompt: "[0]" if "The first error step is" in prompt else "the answer is 72"
    completion = {"text": "the answer is 62", "offsets": [[0, 3], [3, 10], [10, 16]]}
    body = {"rollouts": [{"prompt": "q", "reference": "A: 72", "completion": completion}]}
    (result,) = service.post("/rewrite", json=body).json()["results"]
    (edit,) = result["edits"]
    assert (edit["start"], edit["end"], edit["replacement"]) == (14, 15, "7")
    assert (edit["token_start"], edit["token_end"]) == (2, 3)
    assert result["policy_tokens"] is False


def test_weights_are_the_caller_s(rewrite: Callable[..., dict[str, Any]]) -> None:
    """`keep` and `changed` as asked for."""
    result = rewrite("AB", "[0]", "AXB", weights={"keep": 0.25, "changed": 2.0})
    assert result["weights"] == [0.25, 2.0, 0.25, 0.25]


@pytest.fixture(scope="module")
def checking(tmp_path_factory: pytest.TempPathFactory, hosting: Any) -> Iterator[httpx.Client]:
    """A service whose rewriter finds nothing wrong, with a hook of its owner's."""
    folder = tmp_path_factory.mktemp("hooks")
    (folder / "assay_http_hook.py").write_text(HOOK)
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(folder)
        with hosting(rewriter={"engine": "fake", "check_hook": "assay_http_hook:ends_alike"}) as client:
            yield client


def checked(client: httpx.Client, mode: str, text: str, reference: str, **verify: Any) -> dict[str, Any]:
    """The result for a completion whose correctness only the check can tell."""
    item = {"prompt": "q", "reference": reference, "completion": {"text": text}}
    body = {"rollouts": [item], "options": {"verify": {"mode": mode, **verify}}}
    answer = client.post("/rewrite", json=body).json()
    assert answer["recipe"]["options"]["checked"].startswith(mode)
    result: dict[str, Any] = answer["results"][0]
    return result


@pytest.mark.parametrize(
    ("mode", "text", "reference"),
    [
        ("math", "So it is a half.\nA: 1/2", r"\boxed{\frac{1}{2}}"),
        ("math", "The answer is: 1,000", "A: 1000"),
        ("math", "A: 72 eggs", "#### 72"),
        ("qa", "The answer is Paris.", "paris"),
        ("hook", "anything 7", "something 7"),
    ],
)
def test_a_right_answer_is_its_own_rewrite(
    checking: httpx.Client, mode: str, text: str, reference: str
) -> None:
    """Numbers, fractions and LaTeX; words; a function of one's own. No model is asked."""
    result = checked(checking, mode, text, reference)
    assert (result["status"], result["verified"], result["rewritten"]) == ("ok", True, text), result
    assert result["provenance"]["usage"]["calls"] == 0


@pytest.mark.parametrize(
    ("mode", "text", "reference"),
    [("math", "A: 0.51", r"\frac{1}{2}"), ("qa", "Lyon", "Paris"), ("hook", "anything 7", "something 8")],
)
def test_a_wrong_answer_in_which_nothing_is_found(
    checking: httpx.Client, mode: str, text: str, reference: str
) -> None:
    """The check has the last word."""
    assert checked(checking, mode, text, reference)["failure"]["kind"] == "locate_disagrees"


def test_the_tolerance_is_the_caller_s(checking: httpx.Client) -> None:
    """Equal within `tol`."""
    assert checked(checking, "math", "A: 0.51", "0.5", tol=0.1)["verified"] is True


def test_a_hook_that_cannot_tell(checking: httpx.Client) -> None:
    """None is neither right nor wrong; one that raises fails its rollout alone, with its name and no word of it."""
    unsure = checked(checking, "hook", "is it?", "it is?")
    assert (unsure["status"], unsure["verified"], unsure["correct"]) == ("ok", None, None)
    failed = checked(checking, "hook", "oh!", "oh!")
    assert failed["failure"]["kind"] == "internal"
    assert "assay_http_hook:ends_alike raised RuntimeError" in failed["failure"]["detail"]
    assert "no idea" not in failed["failure"]["detail"]


@pytest.mark.parametrize(
    ("verify", "text", "branch"),
    [
        ({"mode": "qa"}, "Paris", "correct"),
        ({"mode": "qa"}, "Lyon", "incorrect"),
        ({"mode": "hook"}, "is", "correct"),
    ],
)
def test_the_same_checks_decide_the_branch(
    checking: httpx.Client, verify: dict[str, str], text: str, branch: str
) -> None:
    """Method grm compares answers as it is asked to."""
    item = {"prompt": "q", "reference": "paris", "completion": {"text": text}}
    body = {"method": "grm", "rollouts": [item], "options": {"verify": verify}}
    (result,) = checking.post("/score/token", json=body).json()["results"]
    assert (result["status"], result["branch"]) == ("ok", branch)


def test_without_a_check_the_caller_has_to_know(checking: httpx.Client) -> None:
    """Nobody compares the answers, and nothing is guessed."""
    item = {"prompt": "q", "reference": "A: 7", "completion": {"text": "A: 7"}}
    body = {"method": "grm", "rollouts": [item, {**item, "correct": True}], "options": {"verify": None}}
    unknown, known = checking.post("/score/token", json=body).json()["results"]
    assert (unknown["failure"]["kind"], known["branch"]) == ("invalid", "correct")


def test_the_recipe_names_the_hook(checking: httpx.Client) -> None:
    """Another function is another recipe, so nothing that it said is remembered for this one."""
    body = {
        "rollouts": [{"reference": "7", "completion": {"text": "7"}}],
        "options": {"verify": {"mode": "hook"}},
    }
    recipe = checking.post("/rewrite", json=body).json()["recipe"]
    assert recipe["options"]["checked"] == "hook assay_http_hook:ends_alike"


def test_a_service_without_a_hook(service: httpx.Client) -> None:
    """The call is refused with the setting to name one."""
    body = {"rollouts": [{"completion": {"text": "a"}}], "options": {"verify": {"mode": "hook"}}}
    problem = service.post("/rewrite", json=body)
    assert (problem.status_code, problem.json()["pointer"]) == (422, "/options/verify/mode")
    assert "ASSAY_REWRITER__CHECK_HOOK" in problem.json()["detail"]


REMARKS = {
    "remarks": [
        {
            "quote": "24 - 5 = 18",
            "label": "slip",
            "polarity": "negative",
            "severity": 1.0,
            "reason": "24 - 5 is 19",
        }
    ]
}


def test_remarks_guide_without_a_reference(service: httpx.Client, critic: Any) -> None:
    """The critic's remark names the step and tells the rewriter why; the recipe says that this was done."""
    critic.reply = lambda prompt: "24 - 5 = 19 left." if "Revised text:" in prompt else json.dumps(REMARKS)
    text = "There are 24.\n24 - 5 = 18 left."
    body = {
        "method": "critique",
        "task": "remarks",
        "rubric": "Find slips.",
        "rollouts": [{"prompt": "How many are left?", "completion": {"text": text}}],
    }
    answer = service.post("/rewrite", json=body).json()
    (result,) = answer["results"]
    assert (result["rewritten"], result["error_step"]) == ("There are 24.\n24 - 5 = 19 left.", 1), result
    assert (result["verified"], result["prefix_preserved"]) == (None, True)
    assert json.loads(result["critique"]) == REMARKS
    assert '- "24 - 5 = 18" (slip): 24 - 5 is 19' in critic.prompts[-1]
    recipe = answer["recipe"]
    assert (recipe["method"], recipe["other_models"]["critic"]["name"]) == ("critique", "scripted")
    assert recipe["options"]["critic"].startswith("sha256:")


def test_remarks_are_no_paper_s_method(service: httpx.Client) -> None:
    """Compat mode, and rows in the paper's shapes, belong to rewriting by a reference."""
    body = {"method": "critique", "rollouts": [{"completion": {"text": "a"}}]}
    compat = service.post("/rewrite", json={**body, "mode": "compat"})
    rows = service.post("/rewrite", json={**body, "options": {"rows": ["grm"]}})
    assert [refused.json()["pointer"] for refused in (compat, rows)] == ["/mode", "/options/rows"]


def test_the_document_says_what_the_numbers_mean() -> None:
    """Edits and their measures are described where a caller looks them up."""
    pinned = Path(__file__).parents[1] / "contract" / "openapi.json"
    schemas = json.loads(pinned.read_text(encoding="utf-8"))["components"]["schemas"]
    said = schemas["Rewritten"]["description"]
    assert all(
        name in said for name in ("edit_distance", "edit_ratio", "prefix_preserved", "weights", "edits")
    )
