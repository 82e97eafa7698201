"""prime-rl's algorithms, built by its own factory, up to the samples that its trainer gets."""

from typing import Any

import pytest
import verifiers.v1 as vf
from prime_rl.configs.algorithm import GRPOAlgoConfig, OPDAlgoConfig
from prime_rl.orchestrator import algo
from prime_rl.orchestrator.trajectories import trace_to_samples

from assay import FailurePolicy, RolloutFailed
from assay.dense import Shaping, outcome_advantages, shape
from assay.prime import register
from assay.testing import FakeServer
from assay.token_rewards import TokenRewards

from ..planting import plant, planted
from .traces import PRIVATE, sampled, trace

OUTCOMES = [1.0, 0.0, 0.25, 0.0]


@pytest.fixture(autouse=True)
def _own_algorithms(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers, it registers for itself."""
    monkeypatch.setattr(algo, "ALGORITHM_CLASSES", dict(algo.ALGORITHM_CLASSES))
    for images in ("multi_modal_data", "routed_experts"):  # of the verifiers that prime-rl pins, not of 0.4.0
        if not hasattr(vf.Branch, images):
            monkeypatch.setattr(vf.Branch, images, None, raising=False)


def episode(seed: int, outcome: float) -> Any:
    """One trace of one environment, for step 5 of a run."""
    one = trace(seed, outcome)
    work = {"type": "train", "id": "run", "work": {"type": "train", "step": 5}}
    return vf.Episode(
        env=vf.EnvInfo(id="e", name="e"),
        task=one.task,
        group=vf.GroupInfo(id="g"),
        run=work,
        traces=[one],
        ok=True,
    )


async def trained(service_url: str, shaping: Shaping, policy: FailurePolicy | None = None) -> list[Any]:
    """Four episodes of one group through prime-rl's own calls."""
    rewards = TokenRewards(task="math-steps", url=service_url, tokenizer=PRIVATE)
    register(rewards, shaping, policy=policy)
    algorithm = algo.build_algorithm(GRPOAlgoConfig(), None)
    episodes = [episode(seed, outcome) for seed, outcome in enumerate(OUTCOMES)]
    for one in episodes:
        await algorithm.finalize_episode(one)
    await algorithm.finalize_group(episodes)
    return [one.traces[0] for one in episodes]


def in_the_sample(one: Any) -> list[float]:
    """The advantages that the trainer gets, at the places of the tokens that it trains."""
    (sample,) = trace_to_samples(one)
    assert len(sample.advantages) == len(sample.token_ids)
    ids = [token for token, own in zip(sample.token_ids, sample.mask, strict=True) if own]
    assert ids == [token for turn in sampled(one) for token in turn]
    assert not any(a for a, own in zip(sample.advantages, sample.mask, strict=True) if not own)
    return [advantage for advantage, own in zip(sample.advantages, sample.mask, strict=True) if own]


def paid(one: Any) -> list[float]:
    """What is planted in a trace."""
    return [reward for turn in sampled(one) for reward in planted(turn)]


async def test_the_reward_of_a_token_is_the_advantage_of_that_token_in_the_sample(
    service: FakeServer,
) -> None:
    """On top of prime-rl's own advantage: the outcome less its group's mean."""
    service.reward = plant
    shaping = Shaping(weight=0.5, baseline="group", gamma=1.0)
    traces = await trained(service.url, shaping)
    rows = [paid(one) for one in traces]
    shaped = shape(rows, [[1] * len(row) for row in rows], "gggg", shaping)
    whole = outcome_advantages(OUTCOMES, "gggg", scale="mean")
    for one, tokens, outcome in zip(traces, shaped, whole, strict=True):
        assert in_the_sample(one) == pytest.approx([outcome + token for token in tokens])


async def test_a_failed_rollout_is_left_out_of_its_group(
    service: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    """No credit for it, which prime-rl does not train on; the others' mean is their own."""
    service.reward = plant
    service.fail("2")
    policy = FailurePolicy()
    traces = await trained(service.url, Shaping(baseline="none"), policy)
    whole = outcome_advantages([1.0, 0.0, None, 0.0], "gggg", scale="mean")
    assert in_the_sample(traces[2]) == [0.0] * len(paid(traces[2]))
    assert traces[2].agent.trainable
    for index in (0, 1, 3):
        expected = [whole[index] + token for token in paid(traces[index])]
        assert in_the_sample(traces[index]) == pytest.approx(expected)
    assert policy.report() == {"unparseable": 1}
    assert "1 of 4 rollouts of step 5" in caplog.text


async def test_a_service_that_is_away_masks_all_or_leaves_outcomes_or_raises() -> None:
    """The declared fallbacks."""
    away, alone = "http://127.0.0.1:9", Shaping(baseline="none")
    for one in await trained(away, alone, FailurePolicy("skip", timeout_s=2)):
        assert not any(in_the_sample(one))
    whole = outcome_advantages(OUTCOMES, "gggg", scale="mean")
    traces = await trained(away, alone, FailurePolicy("scalar", timeout_s=2))
    for one, outcome in zip(traces, whole, strict=True):
        assert in_the_sample(one) == pytest.approx([outcome] * len(paid(one)))
    with pytest.raises(RolloutFailed, match="unreachable"):
        await trained(away, alone, FailurePolicy("raise", timeout_s=2))


def test_what_has_no_advantages_is_refused() -> None:
    """Distillation trains by a divergence; and somebody has to know the tokenizer."""
    rewards = TokenRewards(task="math-steps", tokenizer=PRIVATE)
    assert OPDAlgoConfig.model_fields["type"].default == "opd"
    with pytest.raises(ValueError, match="ref_kl"):
        register(rewards, Shaping(), algorithm="opd")
    with pytest.raises(ValueError, match="tokenizer"):
        register(TokenRewards(task="math-steps"), Shaping())
