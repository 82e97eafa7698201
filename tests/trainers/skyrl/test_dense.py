"""From SkyRL's generator to its advantages: what the service says of a token reaches that token."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from assay import FailurePolicy, RolloutFailed
from assay.dense import Shaping, outcome_advantages, shape
from assay.testing import FakeServer
from assay.token_rewards import TokenRewards

from ..planting import plant, planted

PRIVATE = {"name": "policy", "revision": "0" * 40}
ALONE = Shaping(baseline="none")
GROUPS = ("p0", "p0", "p1", "p1")
Run = Callable[..., Any]


def outcome(ids: Sequence[int]) -> float:
    """What the environment pays."""
    return (sum(ids) % 10) / 10


def rewards(url: str) -> TokenRewards:
    """What is asked for."""
    return TokenRewards(task="math-steps", url=url, tokenizer=PRIVATE)


def advantages(data: Any, row: int) -> list[float]:
    """Those of a response's own tokens; SkyRL pads on the left."""
    mask = data["response_mask"][row].bool()
    one: list[float] = data["advantages"][row][mask].tolist()
    assert not data["advantages"][row][~mask].any()
    return one


async def test_the_reward_of_a_token_is_the_advantage_of_that_token(run: Run, service: FakeServer) -> None:
    """On top of what SkyRL's group estimator makes of the environment's rewards, which stay what they were."""
    service.reward = plant
    shaping = Shaping(weight=0.5, baseline="group", gamma=1.0)
    output, data = await run(rewards=rewards(service.url), shaping=shaping)
    ids = output["response_ids"]
    assert len({len(one) for one in ids}) > 1
    rows = [planted(one) for one in ids]
    shaped = shape(rows, [[1] * len(one) for one in ids], GROUPS, shaping)
    whole = outcome_advantages([outcome(one) for one in ids], GROUPS, epsilon=1e-6)
    for row in range(4):
        expected = [whole[row] + token for token in shaped[row]]
        assert advantages(data, row) == pytest.approx(expected, abs=1e-4)
        assert data["rewards"][row].sum() == pytest.approx(outcome(ids[row]))
    assert output["rollout_metrics"]["assay/failed"] == 0.0
    sent = service.rollouts[0]
    assert sent["prompt"][0]["role"] == "user"
    assert sent["mask"] == [1] * len(sent["completion"]["token_ids"])


async def test_a_failed_response_is_masked_and_left_out_of_its_group(
    run: Run, service: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Its neighbour is alone then, as if two responses had been one; the other group is not touched."""
    service.reward = plant
    service.fail("1")
    output, data = await run(
        rewards=rewards(service.url), shaping=ALONE, fields=lambda extras: {"id": extras["answer"]}
    )
    ids = output["response_ids"]
    assert not data["loss_mask"][1].any()
    assert not data["advantages"][1].any()
    assert data["loss_mask"][0].sum() == len(ids[0])
    whole = outcome_advantages([outcome(one) for one in ids], GROUPS, epsilon=1e-6)
    for row in (2, 3):
        expected = [whole[row] + token for token in planted(ids[row])]
        assert advantages(data, row) == pytest.approx(expected, abs=1e-4)
    assert output["rollout_metrics"]["assay/failed"] == 0.25
    assert "1 of 4 rollouts of step 7" in caplog.text


@pytest.mark.parametrize("estimator", ["rloo", "reinforce++", "maxrl"])
async def test_other_estimators_are_shaped_too(run: Run, service: FakeServer, estimator: str) -> None:
    """Whatever the estimator makes of the outcome, the planted token stands out by what it was paid."""
    service.reward = 0.0
    output, plain = await run(estimator, rewards=rewards(service.url), shaping=ALONE)
    service.reward = plant
    again, dense = await run(estimator, rewards=rewards(service.url), shaping=ALONE)
    assert output["response_ids"] == again["response_ids"]
    for row, ids in enumerate(again["response_ids"]):
        difference = [a - b for a, b in zip(advantages(dense, row), advantages(plain, row), strict=True)]
        assert difference == pytest.approx(planted(ids), abs=1e-4)


async def test_a_service_that_is_away_masks_all_or_leaves_outcomes_or_raises(run: Run) -> None:
    """The declared fallbacks."""
    away = rewards("http://127.0.0.1:9")
    _, data = await run(rewards=away, shaping=ALONE, policy=FailurePolicy("skip", timeout_s=2))
    assert not data["loss_mask"].any()
    output, data = await run(rewards=away, shaping=ALONE, policy=FailurePolicy("scalar", timeout_s=2))
    whole = outcome_advantages([outcome(one) for one in output["response_ids"]], GROUPS, epsilon=1e-6)
    for row, ids in enumerate(output["response_ids"]):
        assert advantages(data, row) == pytest.approx([whole[row]] * len(ids), abs=1e-4)
    with pytest.raises(RolloutFailed, match="unreachable"):
        await run(rewards=away, shaping=ALONE, policy=FailurePolicy("raise", timeout_s=2))


async def test_nothing_is_judged_in_evaluation(run: Run, service: FakeServer) -> None:
    """Its rewards are the environment's."""
    output = await run(phase="eval", rewards=rewards(service.url), shaping=ALONE)
    assert not service.received
    assert [sum(row) for row in output["rewards"]] == [outcome(ids) for ids in output["response_ids"]]
