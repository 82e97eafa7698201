"""verifiers' own scoring of a task, with a reward of the service among its rewards."""

from collections.abc import Callable
from typing import Any

import pytest
import verifiers.v1 as vf

from assay import FailurePolicy
from assay.prime import task_reward
from assay.testing import FakeServer
from assay.token_rewards import TokenRewards

from ..planting import plant, planted
from .traces import PRIVATE, sampled, trace


@pytest.fixture
def task(service: FakeServer) -> Callable[..., Any]:
    """A task with a reward of its own and one of the service, weighed by half."""
    rewards = TokenRewards(task="math-steps", url=service.url, tokenizer=PRIVATE)

    def make(policy: FailurePolicy, fields: Callable[[Any], dict[str, Any]] = lambda trace: {}) -> Any:
        class Arithmetic(vf.Task[vf.TaskData]):  # type: ignore[misc]
            steps = task_reward("steps", rewards, weight=0.5, policy=policy, fields=fields, aggregate=max)

            @vf.reward()
            async def right(self, trace: Any) -> float:
                return 1.0

        return Arithmetic(vf.TaskData(idx=0, prompt=None))

    return make


async def test_token_rewards_become_a_weighed_reward_of_the_task(
    task: Callable[..., Any], service: FakeServer
) -> None:
    """The service sees each turn with what led to it, and what was planted there comes back."""
    service.reward = plant
    one = trace(1)
    await task(FailurePolicy(), lambda _: {"reference": "4"}).score(one)
    assert {name: reward.value for name, reward in one.rewards.items()} == {"right": 1.0, "steps": 3.5}
    first, second = sorted(service.rollouts, key=lambda sent: len(sent["prompt"]))
    assert [first["completion"]["token_ids"], second["completion"]["token_ids"]] == sampled(one)
    assert first["prompt"] == [{"role": "user", "content": "2 + 2 = ?"}]
    assert [turn["role"] for turn in second["prompt"]] == ["user", "assistant", "tool"]
    assert first["reference"] == "4"
    assert max(planted(sampled(one)[0])) == 7.0


async def test_failures_follow_the_policy(task: Callable[..., Any], service: FakeServer) -> None:
    """Skipped: the trace has an error, which nobody trains on. Scalar: the other rewards stand alone."""
    service.reward = plant
    service.fail("2")
    await task(FailurePolicy()).score(trace(1))
    with pytest.raises(vf.TaskError, match="unparseable"):
        await task(FailurePolicy()).score(trace(2))
    one = trace(2)
    await task(FailurePolicy("scalar")).score(one)
    assert {name: reward.value for name, reward in one.rewards.items()} == {"right": 1.0}
