"""The service as it comes corrects solutions and pays their tokens, in the small world of its rewriter."""

import httpx
import pytest

import assay
from assay_training.pocket_rewriter_figures import held_out_rewrites

SOLUTIONS = 60
SLIP = {
    "prompt": "Bo bought 4 boxes of 3 pens each and gave away 2 pens. How many are left?",
    "completion": {
        "text": "Bo bought 4 boxes of 3 pens each: 4 * 3 = 12.\nAfter giving away 2 pens, 12 - 2 = 7.\nA: 7"
    },
    "reference": "4 boxes of 3 pens make 4 * 3 = 12 pens.\nWithout the 2 pens there are 12 - 2 = 10.\nA: 10",
}


@pytest.fixture(scope="module")
def judged(embedded_url: str) -> list[tuple]:
    """Held-out wrong solutions, their rewrites and their token rewards."""
    solutions = held_out_rewrites(SOLUTIONS)
    rollouts = [
        {
            "prompt": solution.prompt,
            "completion": {"text": solution.prediction},
            "reference": solution.reference,
        }
        for solution in solutions
    ]
    with assay.Client(embedded_url) as client:
        rewrites = client.rewrite(rollouts, timeout_s=300).results
        probes = client.score_token(rollouts, method="grm", timeout_s=300).results
    return list(zip(solutions, rewrites, probes, strict=True))


def test_most_held_out_slips_are_corrected(judged: list[tuple]) -> None:
    """Verified, with the kept lines untouched and few changes; none is called right."""
    rewritten = [result for _, result, _ in judged if isinstance(result, assay.Rewritten)]
    assert sum(result.verified is True for result in rewritten) >= 0.75 * SOLUTIONS
    assert all(result.prefix_preserved for result in rewritten)
    assert not any(result.correct for result in rewritten)


def test_the_slip_is_paid_least(judged: list[tuple]) -> None:
    """In most solutions no token has a lower reward than one of the planted error; none has a positive one."""
    lowest = 0
    for solution, _, probe in judged:
        assert isinstance(probe, assay.Probed)
        assert probe.branch == "incorrect"
        assert all(-0.1 <= reward <= 0 for reward in probe.rewards)
        inside = [
            reward
            for reward, (start, end) in zip(probe.rewards, probe.offsets, strict=True)
            if start < solution.error.end and solution.error.start < end
        ]
        lowest += min(inside) < 0 and min(inside) == min(probe.rewards)
    assert lowest >= 0.7 * SOLUTIONS


def test_a_right_solution_is_copied_without_a_model(embedded: httpx.Client) -> None:
    """Its answer is the reference's."""
    item = {**SLIP, "completion": {"text": SLIP["reference"]}}
    (result,) = embedded.post("/rewrite", json={"rollouts": [item]}).json()["results"]
    assert (result["verified"], result["edits"], result["provenance"]["usage"]["calls"]) == (True, [], 0)


def test_what_it_cannot_do_is_refused_with_what_to_do(embedded: httpx.Client) -> None:
    """It rewrites by a reference only, and there is no reference policy beside it."""
    critique = embedded.post("/rewrite", json={"method": "critique", "rollouts": [SLIP]})
    assert (critique.status_code, critique.json()["pointer"]) == (422, "/method")
    assert "ASSAY_REWRITER__MODEL" in critique.json()["detail"]
    rows = embedded.post("/rewrite", json={"rollouts": [SLIP], "options": {"rows": ["rlmec"]}})
    assert (rows.status_code, rows.json()["pointer"]) == (422, "/options/rows")


def test_info_states_its_limits(embedded: httpx.Client) -> None:
    """Model, prompts, and what it is not for."""
    told = embedded.get("/info").json()["models"]["rewriter"]
    assert told["name"] == "assay/pocket-rewriter"
    assert told["prompts"]["fix"]["name"] == "pocket/rewrite/fix"
    assert "limits" in told["card"]
