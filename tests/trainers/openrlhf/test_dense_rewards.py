"""Token rewards through OpenRLHF's own code: executor, sample, micro-batches, advantages, loss. No GPU, no engine."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from openrlhf.models.loss import PolicyLoss
from openrlhf.trainer.ppo_utils.experience import make_experience_batch, split_experience_batch
from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker
from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator
from openrlhf.trainer.ray.vllm_engine import _load_agent_executor
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from assay import openrlhf
from assay.dense import Shaping, dense_advantages
from assay.errors import RolloutFailed
from assay.policy import FailurePolicy
from assay.testing import FakeServer

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "trainers" / "openrlhf_reward.py"
PLANTED = -0.75
ANSWERS = [
    ["two and three are five", "so it is wrong it is seven"],
    ["wrong right", "so it is right and it is five"],
]
SHAPING = Shaping(weight=0.5, baseline="group", gamma=None)
MAX_LEN = 32

Executor = type[openrlhf.DenseAgentExecutor]


def planted(rollout: Mapping[str, Any], tokens: int) -> list[float]:
    """The reward is on tokens that say "wrong", wherever they stand."""
    completion = rollout["completion"]
    pieces = [completion["text"][start:end].strip() for start, end in completion["offsets"]]
    assert len(pieces) == tokens
    return [PLANTED if piece == "wrong" else 0.0 for piece in pieces]


def tokenizer() -> PreTrainedTokenizerFast:
    """A token a word."""
    words = "<end> <pad> how many two and three are five wrong right so it is seven".split()
    backend = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<pad>")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", pad_token="<pad>")


@pytest.fixture
def executor(service: FakeServer) -> Iterator[Callable[..., Executor]]:
    """The executor of the example, found as OpenRLHF finds it, with other settings where a test says so."""
    original = RemoteExperienceMaker.compute_advantages_and_returns
    service.reward = planted

    def made(**settings: Any) -> Executor:
        loaded = type(_load_agent_executor(str(EXAMPLE)))
        chosen = type("AgentExecutor", (loaded,), {"policy": FailurePolicy("skip", timeout_s=30), **settings})
        openrlhf.install(chosen)
        return chosen

    yield made
    RemoteExperienceMaker.compute_advantages_and_returns = original


class Engine:
    """What vLLM would have generated."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = list(ids)

    async def generate(self, *_: object, **__: object) -> object:
        """One completion."""
        return SimpleNamespace(
            outputs=[SimpleNamespace(token_ids=self.ids, finish_reason="stop", logprobs=None)]
        )


async def generated(
    executor: Executor, answers: Sequence[Sequence[str]] = ANSWERS, *, max_len: int = MAX_LEN
) -> list[Any]:
    """Each answer through the executor, and into OpenRLHF's sample."""
    own, running = tokenizer(), executor()
    sampling = SimpleNamespace(max_tokens=16, logprobs=None)
    samples = []
    for text in (text for texts in answers for text in texts):
        ids = [*own.encode(text), own.eos_token_id]
        response = await running.execute("how many", "five", sampling, MAX_LEN, own, Engine(ids))
        samples.append(SamplesGenerator._process_response_into_experience(None, response, max_len=max_len))
    return samples


def made_advantages(samples: list[Any], *, kl: float = 0.0, **changes: Any) -> list[Any]:
    """OpenRLHF's own micro-batches of two, and its step from rewards to advantages."""
    own = {"estimator": "group_norm", "kl_coef": 0.0, "overlong": None, **changes}
    args = SimpleNamespace(
        algo=SimpleNamespace(advantage=SimpleNamespace(estimator=own["estimator"], gamma=1.0)),
        train=SimpleNamespace(dynamic_batch_enable=False),
        rollout=SimpleNamespace(n_samples_per_prompt=own.get("per_prompt", 2), micro_batch_size=2),
        reward=SimpleNamespace(
            clip_range=None, overlong_buffer_len=own["overlong"], stop_properly_penalty_coef=None
        ),
    )
    args.rollout.max_new_tokens = 8
    maker = RemoteExperienceMaker(
        None, None, None, None, SimpleNamespace(value=own["kl_coef"]), SimpleNamespace(args=args), tokenizer()
    )
    experiences = maker.split_rollout_samples(samples)
    for experience in experiences:
        experience.kl = torch.full(experience.action_mask.shape, kl)
    return maker.compute_advantages_and_returns(experiences)


def own_rows(experiences: Sequence[Any]) -> list[list[float]]:
    """Each rollout's advantages at its own tokens."""
    return [
        row[mask.bool()].tolist()
        for experience in experiences
        for row, mask in zip(experience.advantages, experience.action_mask, strict=True)
    ]


def earned(answers: Sequence[Sequence[str]] = ANSWERS) -> list[list[float]]:
    """What was planted, by word; the end marker earns nothing."""
    return [
        [*(PLANTED if word == "wrong" else 0.0 for word in text.split()), 0.0]
        for texts in answers
        for text in texts
    ]


@pytest.mark.parametrize(("estimator", "scale"), [("group_norm", "std"), ("dr_grpo", "mean")])
async def test_a_planted_reward_reaches_the_advantage_of_its_token(
    executor: Callable[..., Executor], estimator: str, scale: Any
) -> None:
    """Exactly where it was planted, by the documented formula; and from there into the gradient of its token."""
    experiences = made_advantages(await generated(executor()), estimator=estimator)
    rewards = earned()
    expected = dense_advantages(
        [1.0, 0.0, 0.0, 1.0],
        rewards,
        [[1] * len(row) for row in rewards],
        [0, 0, 1, 1],
        shaping=SHAPING,
        scale=scale,
        epsilon=1e-9,
    )
    for row, other, planted_row in zip(own_rows(experiences), expected, rewards, strict=True):
        assert row == pytest.approx(other, abs=1e-6)
        base = {round(value, 5) for value, reward in zip(row, planted_row, strict=True) if not reward}
        assert len(base) == 1
        for value, reward in zip(row, planted_row, strict=True):
            assert value == pytest.approx(base.copy().pop() + 0.5 * reward, abs=1e-4)

    # As the actor does: taken apart, put together anew, and into the loss.
    batch = make_experience_batch([item for one in experiences for item in split_experience_batch(one)])
    log_probs = torch.zeros_like(batch.advantages, requires_grad=True)
    loss = PolicyLoss()(log_probs, torch.zeros_like(log_probs), batch.advantages, batch.action_mask)[0]
    loss.backward()
    assert torch.allclose(log_probs.grad, -batch.advantages * batch.action_mask / batch.action_mask.sum())


async def test_no_trace_is_left_where_openrlhf_logs_numbers(executor: Callable[..., Executor]) -> None:
    """Rows of different lengths among the logs end a run."""
    for experience in made_advantages(await generated(executor())):
        assert not {openrlhf.REWARDS, openrlhf.FAILURE} & set(experience.info)
        assert all(value.shape == (2,) for value in experience.info.values())


async def test_what_is_cut_off_takes_its_rewards_along(executor: Callable[..., Executor]) -> None:
    """OpenRLHF cuts a sample at max_len, after it was rewarded."""
    whole = own_rows(made_advantages(await generated(executor(shaping=Shaping(baseline="none")))))
    samples = await generated(executor(shaping=Shaping(baseline="none")), max_len=6)
    cut = own_rows(made_advantages(samples))
    for row, other in zip(cut, whole, strict=True):
        assert len(row) <= 4
        assert row == pytest.approx(other[: len(row)])


async def test_the_kl_penalty_is_the_one_of_openrlhf(executor: Callable[..., Executor]) -> None:
    """Summed from each token on, over its own tokens, beside the outcome."""
    plain = own_rows(made_advantages(await generated(executor())))
    penalized = own_rows(made_advantages(await generated(executor()), kl=2.0, kl_coef=0.1))
    for row, other in zip(penalized, plain, strict=True):
        ahead = [0.2 * (len(row) - place) for place in range(len(row))]
        assert row == pytest.approx(
            [value - cost for value, cost in zip(other, ahead, strict=True)], abs=1e-5
        )


async def test_lists_for_rewards_are_refused(executor: Callable[..., Executor]) -> None:
    """OpenRLHF would train on the first numbers of a list: neither an outcome nor a sample gets through as one."""

    async def by_token(self: Any, prompt: str, response: str, label: Any) -> Any:
        return [0.1, 0.2, 0.3]

    with pytest.raises(TypeError, match="one number, not list"):
        await generated(executor(outcome=by_token))
    samples = await generated(executor())
    for sample in samples:  # what a reward_func of the user's, or a remote URL, would have led to
        sample.rewards = torch.tensor([[0.1, 0.2, 0.3]])
    with pytest.raises(ValueError, match=r"shape \(2, 3\) for 2 rollouts"):
        made_advantages(samples)


async def test_an_outcome_that_is_no_number_is_refused(executor: Callable[..., Executor]) -> None:
    """NaN would reach the weights."""

    async def nothing(self: Any, prompt: str, response: str, label: Any) -> float:
        return math.nan

    with pytest.raises(ValueError, match="finite"):
        await generated(executor(outcome=nothing))


async def test_samples_of_another_executor_are_refused(executor: Callable[..., Executor]) -> None:
    """Nothing to be dense with."""
    samples = await generated(executor())
    for sample in samples:
        del sample.info[openrlhf.REWARDS]
    with pytest.raises(ValueError, match="agent_func_path"):
        made_advantages(samples)


@pytest.mark.parametrize("estimator", ["gae", "reinforce", "reinforce_baseline", "rloo", "flash_reinforce"])
async def test_estimators_that_would_mix_up_tokens_are_refused(
    executor: Callable[..., Executor], estimator: str
) -> None:
    """With what to use instead."""
    with pytest.raises(ValueError, match="group_norm, dr_grpo"):
        made_advantages(await generated(executor()), estimator=estimator)


async def test_a_failed_rollout_is_masked_out_and_moves_nothing(
    executor: Callable[..., Executor], service: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The others of its group come out as if it had never been drawn; one line says so."""
    answers = [["two and three are five", "so it is wrong", "wrong right", "it is five"]]
    service.reward = lambda rollout, tokens: (
        [] if rollout["completion"]["text"].startswith("wrong") else planted(rollout, tokens)
    )
    with caplog.at_level(logging.WARNING, logger="assay"):
        experiences = made_advantages(await generated(executor(), answers), per_prompt=4)
    rows = own_rows(experiences)
    assert rows[2] == []
    kept = [row for index, row in enumerate(earned(answers)) if index != 2]
    expected = dense_advantages(
        [1.0, 0.0, 1.0], kept, [[1] * len(row) for row in kept], [0] * 3, shaping=SHAPING, epsilon=1e-9
    )
    for row, other in zip([rows[0], rows[1], rows[3]], expected, strict=True):
        assert row == pytest.approx(other, abs=1e-6)
    assert not experiences[1].advantages[0].any()
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("1 of 4 rollouts were not judged and are masked out (internal: 1)")
    assert "the test gives 0 rewards to 3 tokens" in line


async def test_scalar_keeps_the_outcome_of_a_failed_rollout(
    executor: Callable[..., Executor], service: FakeServer
) -> None:
    """Its advantage is the outcome's alone."""
    service.reward = lambda rollout, tokens: (
        [] if "seven" in rollout["completion"]["text"] else planted(rollout, tokens)
    )
    rows = own_rows(made_advantages(await generated(executor(policy=FailurePolicy("scalar")))))
    assert rows[1] == pytest.approx([-0.5 / math.sqrt(0.5)] * 8, abs=1e-5)


async def test_raise_ends_the_training_in_the_step(
    executor: Callable[..., Executor], service: FakeServer
) -> None:
    """Not before: an executor's error would be lost in a group of many."""
    samples = await generated(executor(policy=FailurePolicy("raise")))
    service.reward = lambda rollout, tokens: []
    samples[2:] = (await generated(executor(policy=FailurePolicy("raise"))))[2:]
    with pytest.raises(RolloutFailed, match="gives 0 rewards"):
        made_advantages(samples)


async def test_a_service_that_stalls_holds_nobody_longer_than_the_deadline(
    executor: Callable[..., Executor], service: FakeServer
) -> None:
    """A step goes on without it."""
    policy = FailurePolicy("skip", timeout_s=0.5)
    service.delay_s = 60.0
    began = time.monotonic()
    samples = await generated(executor(policy=policy))
    assert time.monotonic() - began < 4 * 1.0 + 2.0
    assert own_rows(made_advantages(samples)) == [[], [], [], []]
    assert sum(policy.totals.values()) == 4


def test_ray_installs_it_in_each_of_its_processes(service: FakeServer) -> None:
    """The hook of the example's launcher, in a real process of Ray's."""
    ray.init(
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"worker_process_setup_hook": "gpu_only.install"},
    )
    try:

        @ray.remote
        def whose() -> str:
            from openrlhf.trainer.ppo_trainer import RemoteExperienceMaker as Maker

            return str(Maker.compute_advantages_and_returns.__module__)

        assert ray.get(whose.remote()) == "assay.openrlhf"
    finally:
        ray.shutdown()
