"""From AReaL's workflow to its actor's advantages: what the service says of a token reaches that token."""

import random
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from areal.api import ModelResponse
from areal.api.cli_args import GenerationHyperparameters, GRPOConfig, NormConfig, PPOActorConfig
from areal.infra.remote_inf_engine import GroupedRolloutWorkflow
from areal.trainer.ppo.actor import PPOActor
from areal.utils import logging

from assay import FailurePolicy, RolloutFailed
from assay import policy as policies
from assay.areal import DenseRLVRWorkflow, check
from assay.dense import Shaping, outcome_advantages, shape
from assay.testing import FakeServer
from assay.token_rewards import TokenRewards

from ..planting import plant, planted
from ..words import word_tokenizer

PRIVATE = {"name": "policy", "revision": "0" * 40}
ALONE = Shaping(baseline="none")


def outcome(prompt: str, completions: str, prompt_ids: Any, completion_ids: Sequence[int], **_: Any) -> float:
    """A reward function of AReaL's; it runs in a process of its own."""
    return (sum(completion_ids) % 10) / 10


class Engine:
    """Stands for SGLang: ids that only the seed decides, of different lengths."""

    def __init__(self) -> None:
        self.chance = random.Random(0)

    async def agenerate(self, req: Any) -> ModelResponse:
        """One completion."""
        ids = [self.chance.randrange(3, 100) for _ in range(self.chance.randrange(2, 7))]
        return ModelResponse(
            input_tokens=list(req.input_ids),
            output_tokens=ids,
            output_logprobs=[-0.5] * len(ids),
            output_versions=[3] * len(ids),
        )

    def get_version(self) -> int:
        """The policy's."""
        return 3


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A word-level tokenizer with a chat template."""
    return word_tokenizer("{% for m in messages %}{{ m['content'] }} {% endfor %}")


@pytest.fixture
def workflow(tokenizer: Any, service: FakeServer) -> Callable[..., DenseRLVRWorkflow]:
    """AReaL's workflow with the adapter's arguments."""
    service.reward = plant

    def make(**settings: Any) -> DenseRLVRWorkflow:
        return DenseRLVRWorkflow(
            outcome,
            GenerationHyperparameters(n_samples=1),
            tokenizer,
            **{
                "rewards": TokenRewards(task="math-steps", url=service.url, tokenizer=PRIVATE),
                "shaping": ALONE,
                **settings,
            },
        )

    return make


async def group(workflow: Any, engine: Engine | None = None, size: int = 4) -> Any:
    """What AReaL's own grouping makes of four episodes with one prompt."""
    grouped = GroupedRolloutWorkflow(workflow, size, logging.getLogger("test"))
    data = {"messages": [{"role": "user", "content": "w1 w2 w3"}], "answer": "w4"}
    return await grouped.arun_episode(engine or Engine(), data)


def advantages(batch: Any) -> list[list[float]]:
    """Those of each completion's tokens as AReaL's actor makes them: token t is at place t - 1."""
    config = PPOActorConfig(
        adv_norm=None,
        kl_ctl=0.0,
        reward_norm=NormConfig(mean_level="group", std_level=None, group_size=batch["rewards"].size(0)),
    )
    own = batch["loss_mask"].bool().roll(-1, dims=-1)
    engine = SimpleNamespace(config=config)
    made = PPOActor(config, engine)._compute_advantages({name: one.clone() for name, one in batch.items()})
    return [row[mask].tolist() for row, mask in zip(made["advantages"], own, strict=True)]


def completions(batch: Any) -> list[list[int]]:
    """The ids of each completion."""
    return [
        row[mask.bool()].tolist() for row, mask in zip(batch["input_ids"], batch["loss_mask"], strict=True)
    ]


def outcomes(ids: Sequence[Sequence[int]]) -> list[float]:
    """What the reward function pays, less the mean."""
    return outcome_advantages([outcome("", "", (), one) for one in ids], "g" * len(ids), scale="mean")


@pytest.mark.parametrize("gamma", [None, 1.0])
async def test_the_reward_of_a_token_is_the_advantage_of_that_token(
    workflow: Callable[..., Any], service: FakeServer, gamma: float | None
) -> None:
    """Through AReaL's unchanged actor, on top of its own group-normalized reward."""
    shaping = Shaping(weight=0.5, baseline="none", gamma=gamma)
    batch = await group(workflow(shaping=shaping, columns={"reference": "answer"}))
    ids = completions(batch)
    assert len({len(one) for one in ids}) > 1
    shaped = shape([planted(one) for one in ids], [[1] * len(one) for one in ids], "gggg", shaping)
    for row, whole, tokens in zip(advantages(batch), outcomes(ids), shaped, strict=True):
        assert row == pytest.approx([whole + token for token in tokens], abs=1e-4)
    assert service.rollouts[0]["reference"] == "w4"
    assert service.rollouts[0]["prompt"] == [{"role": "user", "content": "w1 w2 w3"}]


async def test_a_failed_completion_is_left_out_of_its_group(
    workflow: Callable[..., Any], service: FakeServer
) -> None:
    """AReaL rejects it, and the mean is that of the others."""
    service.reward = lambda rollout, tokens: plant(rollout, tokens) if tokens != 5 else []
    whole_group = completions(await group(workflow(policy=FailurePolicy("scalar"))))
    assert 5 in {len(one) for one in whole_group}
    batch = await group(workflow())
    ids = completions(batch)
    assert ids == [one for one in whole_group if len(one) != 5]
    for row, whole, one in zip(advantages(batch), outcomes(ids), ids, strict=True):
        assert row == pytest.approx([whole + token for token in planted(one)], abs=1e-4)


async def test_a_service_that_is_away(
    workflow: Callable[..., Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The declared fallbacks; and no step waits for ever. Logs are seen though AReaL switches other loggers off."""
    monkeypatch.setattr(policies.log, "handlers", [caplog.handler])  # AReaL takes the root's away
    away = TokenRewards(task="math-steps", url="http://127.0.0.1:9", tokenizer=PRIVATE)
    impatient = {"rewards": away, "policy": FailurePolicy("skip", timeout_s=2)}
    assert await group(workflow(**impatient)) is None
    for settings in ({**impatient, "patience_s": 0.0}, {"rewards": away, "policy": FailurePolicy("scalar")}):
        batch = await group(workflow(**settings))
        ids = completions(batch)
        for row, whole, one in zip(advantages(batch), outcomes(ids), ids, strict=True):
            assert row == pytest.approx([whole] * len(one), abs=1e-4)
    assert "nothing was judged" in caplog.text
    with pytest.raises(RolloutFailed, match="unreachable"):
        await group(workflow(rewards=away, policy=FailurePolicy("raise", timeout_s=2)))


def test_what_does_not_fit_is_refused(workflow: Callable[..., Any]) -> None:
    """A baseline over a group that a workflow does not see, and estimation that smears the values."""
    with pytest.raises(ValueError, match="baseline"):
        workflow(shaping=Shaping(baseline="group"))
    config = SimpleNamespace(actor=PPOActorConfig(), critic=None)
    assert GRPOConfig
    check(config)
    config.actor.gae_lambda = 0.95
    with pytest.raises(ValueError, match="gae_lambda"):
        check(config)
