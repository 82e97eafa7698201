"""Facts about what adapters do with failures: skip, scalar or raise; counted, and told once per step."""

import logging
import time

import pytest

import assay
from assay.testing import FakeServer


def failure(id: str, kind: str = "engine") -> assay.Failed:
    """A failed rollout."""
    return assay.Failed(id, kind, f"{kind} trouble", {})


def test_a_failed_rollout_is_masked_out_and_never_a_zero() -> None:
    """By policy ``skip`` it is None, whatever scalar the trainer has."""
    policy = assay.FailurePolicy("skip")
    assert policy.settle(["good", failure("b")], scalars=[1.0, 2.0]) == ("good", None)


def test_the_own_scalar_stands_in_where_that_is_declared() -> None:
    """By policy ``scalar`` the trainer's own reward is kept; without one the rollout is masked out."""
    policy = assay.FailurePolicy("scalar")
    results = ["good", failure("b"), failure("c")]
    assert policy.settle(results, scalars=[1.0, 2.0, None]) == ("good", 2.0, None)
    assert policy.settle(results) == ("good", None, None)


def test_training_ends_where_that_is_declared() -> None:
    """By policy ``raise`` the first failure is raised."""
    with pytest.raises(assay.RolloutFailed, match="'b' was not judged, engine"):
        assay.FailurePolicy("raise").settle(["good", failure("b")])
    with pytest.raises(ValueError, match="skip, scalar, raise"):
        assay.FailurePolicy("zero")  # type: ignore[arg-type]


def test_a_call_is_reported_once_and_by_kind(caplog: pytest.LogCaptureFixture) -> None:
    """One line for a step that is one call, none for a step without failures."""
    policy = assay.FailurePolicy()
    with caplog.at_level(logging.WARNING, logger="assay"):
        policy.settle(["good"] * 61 + [failure("a", "past_deadline"), failure("b"), failure("c")])
        policy.settle(["good"])
    assert [record.message for record in caplog.records] == [
        "3 of 64 rollouts were not judged and are masked out (engine: 2, past_deadline: 1); the first one, "
        "a: past_deadline trouble"
    ]
    assert policy.totals == {"engine": 2, "past_deadline": 1}
    assert policy.judged == 62


def test_many_calls_of_one_step_are_reported_together(caplog: pytest.LogCaptureFixture) -> None:
    """Trainers that send one sample a call get one line per step, not one per sample."""
    policy = assay.FailurePolicy()
    with caplog.at_level(logging.WARNING, logger="assay"):
        for step in (1, 2):
            policy.settle(["good"], step=step)
            for at in range(100):
                policy.settle([failure(str(at))], step=step)
        assert len(caplog.records) == 1
        assert policy.report() == {"engine": 100}
        assert policy.report() == {}
    assert [record.message.split(" were")[0] for record in caplog.records] == [
        "100 of 101 rollouts of step 1",
        "100 of 101 rollouts of step 2",
    ]


@pytest.mark.parametrize("kind", ["invalid", "unauthenticated"])
def test_a_mistake_in_the_set_up_ends_the_first_step(kind: str) -> None:
    """A wrong task or key would mask out every rollout for ever: it is raised, until something was judged once."""
    policy = assay.FailurePolicy("skip")
    assert policy.settle([failure("a", "engine"), failure("b", kind)]) == (None, None)
    with pytest.raises(assay.RolloutFailed, match=kind):
        policy.settle([failure("a", kind), failure("b", kind)])
    policy.settle(["good"])
    assert policy.settle([failure("a", kind), failure("b", kind)]) == (None, None)


def test_a_stalled_service_never_hangs_a_step(server: FakeServer) -> None:
    """``asked`` bounds the call and makes failures of whatever goes wrong with it."""
    policy = assay.FailurePolicy("skip", timeout_s=0.4)
    item = {"id": "a", "completion": {"text": "x"}}
    server.delay_s = 30
    with server.client() as client:
        began_s = time.monotonic()
        assert policy.settle(client.score_segment([item], **policy.asked).results) == (None,)
        assert time.monotonic() - began_s < 1.5
        server.stop()
        assert policy.settle(client.score_segment([item], **policy.asked).results) == (None,)
    assert policy.totals == {"past_deadline": 1, "unreachable": 1} or policy.totals == {"past_deadline": 2}
