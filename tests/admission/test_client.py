"""The client against a service with tenants: keys and classes from the environment, refusals as exceptions, waiting."""

import time
from typing import Any

import pytest

import assay

ROLLOUTS = [
    {
        "id": str(number),
        "prompt": f"{number:040d}",
        "completion": {"text": "you rat", "offsets": [[0, 3], [3, 7]]},
    }
    for number in range(8)
]
TASK = "relc-toxicity"


def test_key_and_class_come_from_the_environment(team: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that every process of a trainer has them; what is said in code counts more."""
    key = team.add("atlas")
    url = team.start()
    monkeypatch.setenv("ASSAY_API_KEY", key)
    monkeypatch.setenv("ASSAY_PRIORITY", "evaluation")
    with assay.Client(url) as client:
        assert len(client.score_token(ROLLOUTS, task=TASK).results) == len(ROLLOUTS)
    with assay.Client(url, api_key="assay_wrong") as client, pytest.raises(assay.Unauthenticated):
        client.score_token(ROLLOUTS, task=TASK)
    with pytest.raises(ValueError, match="ASSAY_PRIORITY"):
        assay.Client(url, priority="urgent")


def test_a_call_without_a_key_is_refused_as_others_are(team: Any) -> None:
    """Raised, or with ``on_refusal="fail"`` a failure of each rollout, which ends a training at its first step."""
    team.add("atlas")
    with assay.Client(team.start()) as client:
        with pytest.raises(assay.Unauthenticated) as refused:
            client.score_token(ROLLOUTS, task=TASK)
        answer = client.score_token(ROLLOUTS, task=TASK, on_refusal="fail")
    assert (refused.value.status, refused.value.kind) == (401, "unauthenticated")
    assert [result.kind for result in answer.results] == ["unauthenticated"] * len(ROLLOUTS)


def test_the_client_waits_for_its_quota_within_the_deadline(team: Any) -> None:
    """As long as the service says; where that is longer than the time left, it says so at once."""
    key = team.add("atlas", quotas=[{"requests": 2, "per_s": 2}])
    with assay.Client(team.start(), api_key=key, timeout_s=60) as client:
        for number in range(4):
            answer = client.score_token([ROLLOUTS[number]], task=TASK)
            assert isinstance(answer.results[0], assay.Scored)
    key = team.add("borea", quotas=[{"requests": 1, "per_s": 1000}])
    with assay.Client(team.start(), api_key=key, timeout_s=60) as client:
        client.score_token(ROLLOUTS, task=TASK)
        started = time.monotonic()
        with pytest.raises(assay.OverQuota) as refused:
            client.score_token(ROLLOUTS, task=TASK)
        assert time.monotonic() - started < 30
    assert (refused.value.retry_after_s or 0) > 60


def test_a_call_larger_than_its_quota_is_made_in_parts(team: Any) -> None:
    """Eight rollouts reckoned at 12 tokens each do not fit into 50 at once."""
    key = team.add("atlas", quotas=[{"tokens": 50, "per_s": 1}])
    with assay.Client(team.start(), api_key=key, timeout_s=60) as client:
        answer = client.score_token(ROLLOUTS, task=TASK)
    assert [result.id for result in answer.results] == [one["id"] for one in ROLLOUTS]
    assert all(isinstance(result, assay.Scored) for result in answer.results)
