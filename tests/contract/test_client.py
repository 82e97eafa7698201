"""Client and service meet on the wire: the real client against the real service."""

import subprocess
import sys
from typing import Any

import httpx
import pytest

import assay

ITEM = {"id": "a", "completion": {"text": "you rat", "offsets": [[0, 3], [3, 7]]}, "extrinsic_reward": 0.5}


def test_results_arrive_typed_and_in_order(service: httpx.Client, critic: Any) -> None:
    """A judged rollout is ``Scored``, one that failed is ``Failed`` and has no rewards to use by mistake."""
    critic.reply = "Toxic Span 1: rat"
    broken = {"id": "b", "completion": {"text": "x", "offsets": [[0, 9]]}}
    with assay.Client(str(service.base_url)) as client:
        answer = client.score_token([ITEM, broken], task="relc-toxicity")
    scored, failed = answer.results
    assert isinstance(scored, assay.Scored)
    assert (scored.id, scored.rewards, scored.intrinsic) == ("a", (0.0, 0.0), (0.0, -0.5))
    assert [(span.text, span.token_start, span.token_end) for span in scored.spans] == [("rat", 1, 2)]
    assert isinstance(failed, assay.Failed)
    assert (failed.id, failed.kind) == ("b", "unaligned")
    assert not hasattr(failed, "rewards")
    assert answer.recipe["id"].startswith("sha256:")


def test_a_refused_call_raises_with_kind_and_pointer(service: httpx.Client) -> None:
    """The exception says what to do and names the field."""
    with assay.Client(str(service.base_url)) as client, pytest.raises(assay.CallRejected) as refused:
        client.score_token([ITEM], task="poetry")
    assert (refused.value.status, refused.value.kind, refused.value.pointer) == (422, "invalid", "/task")


def test_no_service_is_an_error_of_its_own() -> None:
    """Nobody listening is not a refusal."""
    with assay.Client("http://127.0.0.1:9") as client, pytest.raises(assay.ServiceUnreachable):
        client.score_token([ITEM], task="relc-toxicity")


def test_the_client_imports_nothing_heavy() -> None:
    """Trainers pay for httpx and nothing else."""
    code = "import sys, assay; print({'torch', 'pydantic', 'fastapi', 'numpy'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "set()\n"
    )


def test_the_public_names_are_complete_and_sorted() -> None:
    """``__all__`` is what the package offers."""
    public = sorted(name for name, value in vars(assay).items() if isinstance(value, type))
    assert assay.__all__ == public


def test_segments_arrive_typed(embedded: httpx.Client) -> None:
    """A scored rollout has its segments, which cover its tokens; one that failed is the same ``Failed``."""
    text = "The bags hold 3 * 4 = 12 lanterns.\nA: 12"
    with assay.Client(str(embedded.base_url)) as client:
        answer = client.score_segment(
            [{"id": "a", "completion": {"text": text}}, {"id": "b", "completion": {"text": ""}}],
            options={"normalizer": "none"},
        )
    scored, failed = answer.results
    assert isinstance(scored, assay.SegmentScored)
    assert "".join(segment.text for segment in scored.segments) == text
    assert scored.segments[-1].token_end == len(scored.rewards)
    assert scored.sequence_score == pytest.approx(
        sum(segment.raw for segment in scored.segments) / len(scored.segments)
    )
    assert isinstance(failed, assay.Failed)
    assert failed.kind == "empty"
