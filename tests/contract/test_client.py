"""Client and service meet on the wire: the real client against the real service."""

import inspect
import subprocess
import sys
from types import FunctionType
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
    public = sorted(name for name, value in vars(assay).items() if isinstance(value, type | FunctionType))
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


def test_a_rewrite_arrives_typed(service: httpx.Client, critic: Any) -> None:
    """A corrected rollout is ``Rewritten``; its edits, applied together, give the rewrite."""
    critic.reply = lambda prompt: "[1]" if "The first error step is" in prompt else "A: 72"
    text = "48 + 24 = 72\nA: 62"
    item = {"id": "a", "prompt": "How many?", "completion": {"text": text}, "reference": "A: 72"}
    with assay.Client(str(service.base_url)) as client:
        answer = client.rewrite([item, {**item, "reference": None}], options={"rows": ["record", "grm"]})
    rewritten, failed = answer.results
    assert isinstance(rewritten, assay.Rewritten)
    assert (rewritten.rewritten, rewritten.error_step, rewritten.verified) == ("48 + 24 = 72\nA: 72", 1, True)
    for edit in reversed(rewritten.edits):
        text = text[: edit.start] + edit.replacement + text[edit.end :]
    assert text == rewritten.rewritten
    changed = [step for step in rewritten.operations if step.op != "keep"]
    assert rewritten.edit_distance == len(changed) == 1
    assert len(rewritten.weights) == len(rewritten.offsets) + 1
    assert rewritten.record is not None
    assert rewritten.record["error_step"] == 1
    assert [row["task"] for row in rewritten.training_rows] == ["locate", "rewrite"]
    assert rewritten.rlmec_row is None
    assert isinstance(failed, assay.Failed)
    assert failed.kind == "invalid"


def test_remarks_guide_a_rewrite(service: httpx.Client, critic: Any) -> None:
    """Method ``critique`` takes the critic's task and rubric along."""
    critic.reply = '{"remarks": []}'
    item = {"id": "a", "prompt": "How many?", "completion": {"text": "All of them."}}
    with assay.Client(str(service.base_url)) as client:
        answer = client.rewrite([item], method="critique", task="remarks", rubric="Find slips.")
    (rewritten,) = answer.results
    assert isinstance(rewritten, assay.Rewritten)
    assert (rewritten.rewritten, rewritten.critique) == ("All of them.", '{"remarks": []}')
    assert answer.recipe["method"] == "critique"


def test_sequence_rewards_arrive_typed(service: httpx.Client) -> None:
    """A rewarded rollout is ``SequenceScored``; what holds for the call is its batch."""
    items = [
        {"id": name, "prompt": "p", "completion": {"text": text}, "extrinsic_reward": reward, "value": 0.5}
        for name, text, reward in (("a", "good", 0.75), ("b", "bad", 0.25), ("c", "", 1.0))
    ]
    with assay.Client(str(service.base_url)) as client:
        answer = client.score_sequence(items, options={"components": [], "value_source": "provided"})
    good, bad, failed = answer.results
    assert isinstance(good, assay.SequenceScored)
    assert isinstance(bad, assay.SequenceScored)
    assert (good.reward, good.value, good.advantage, good.keep, good.sampling_weight) == (
        0.75,
        0.5,
        0.25,
        True,
        1.0,
    )
    assert (bad.advantage, bad.keep, bad.sampling_weight) == (-0.25, False, 0.0)
    assert isinstance(failed, assay.Failed)
    assert failed.kind == "empty"
    assert answer.batch == {
        "positive_ratio": 0.5,
        "keep": [True, False, None],
        "n_keep": 1,
        "weight_sum": 0.25,
    }


async def test_the_client_of_event_loops_says_the_same(service: httpx.Client, critic: Any) -> None:
    """Method by method, answers and refusals alike; one that nobody answers is unreachable."""
    critic.reply = lambda prompt: "correct" if "The first error step is" in prompt else "Toxic Span 1: rat"
    sequence = {"options": {"components": [], "value_source": "group_mean"}}
    solution = {**ITEM, "prompt": "p", "reference": "r"}
    with assay.Client(str(service.base_url)) as client:
        async with assay.AsyncClient(str(service.base_url)) as other:
            for method, item, more in (
                ("score_token", ITEM, {"task": "relc-toxicity"}),
                ("score_segment", ITEM, {"options": {"normalizer": "none"}}),
                ("score_sequence", ITEM, sequence),
                ("rewrite", solution, {}),
            ):
                one = getattr(client, method)([item], **more)
                two = await getattr(other, method)([item], **more)
                assert type(one.results[0]) is type(two.results[0])
                assert one.recipe == two.recipe
            with pytest.raises(assay.CallRejected):
                await other.score_token([ITEM], task="poetry")
    async with assay.AsyncClient("http://127.0.0.1:9") as nobody:
        with pytest.raises(assay.ServiceUnreachable):
            await nobody.score_sequence([ITEM])


def test_both_clients_have_the_same_methods() -> None:
    """What one learns, the other knows."""
    for name in ("score_token", "score_segment", "score_sequence", "rewrite"):
        assert inspect.signature(getattr(assay.Client, name)) == inspect.signature(
            getattr(assay.AsyncClient, name)
        )
