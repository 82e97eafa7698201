"""The plugin's functions called by slime's own code: reward hub, rollout manager, loss. No GPU, no engine."""

import logging
import math
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from slime.backends.megatron_utils import cp_utils, loss
from slime.observability.rollout_data_utils import tensorize_rollout_data_for_training
from slime.ray.rollout import RolloutManager
from slime.rollout.rm_hub import async_rm, batched_async_rm
from slime.utils.misc import load_function
from slime.utils.types import Sample
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from assay.dense import Shaping, dense_advantages
from assay.errors import RolloutFailed
from assay.policy import FailurePolicy
from assay.slime import Plugin
from assay.testing import FakeServer
from assay.token_rewards import TokenRewards

PLANTED = -0.75
WORDS = "<end> two and three are five wrong right so it is seven".split()
ANSWERS = [
    ["two and three are five <end>", "so it is wrong it is seven <end>"],
    ["wrong right <end>", "so it is right and it is five <end>"],
]
SHAPING = Shaping(weight=0.5, baseline="group", gamma=None)

plugin: Plugin


current: list[Plugin] = []


async def reward(*given: Any) -> Any:
    """Found by slime under its path, once: it remembers functions."""
    return await current[0].reward(*given)


def post_process(*given: Any) -> Any:
    """The same."""
    return current[0].post_process(*given)


def advantages(*given: Any) -> None:
    """The same."""
    current[0].advantages(*given)


class Ranks:
    """Megatron's answers about parallelism: ``cp_size`` ranks share each sequence."""

    def __init__(self, cp_size: int = 1, cp_rank: int = 0) -> None:
        self.get_context_parallel_world_size = lambda: cp_size
        self.get_context_parallel_rank = lambda: cp_rank
        self.is_pipeline_last_stage = lambda: True


@pytest.fixture
def make(service: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plugin]:
    """The plugin that slime finds under this module's name."""
    service.reward = planted

    def made(**settings: Any) -> Plugin:
        told = {"tokenizer": tokenizer(), "outcome": outcome, "shaping": SHAPING, **settings}
        current[:] = [Plugin(TokenRewards(task="math-steps", url=service.url), **told)]
        return current[0]

    ranks = Ranks()
    monkeypatch.setattr(loss, "mpu", ranks)
    monkeypatch.setattr(cp_utils, "mpu", ranks)
    return made


def tokenizer() -> Tokenizer:
    """A token a word."""
    backend = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<end>")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(["<end>"])
    return backend


def outcome(sample: Sample) -> float:
    """Whether the answer is there."""
    return float(sample.label in sample.response)


def planted(rollout: Mapping[str, Any], tokens: int) -> list[float]:
    """The reward is on tokens that say "wrong", wherever they stand."""
    completion = rollout["completion"]
    pieces = [completion["text"][start:end] for start, end in completion["offsets"]]
    assert len(pieces) == tokens
    return [PLANTED if piece.strip() == "wrong" else 0.0 for piece in pieces]


def samples(answers: Sequence[Sequence[str]] = ANSWERS) -> list[Sample]:
    """What slime's rollout would have generated: two prompts, two responses each."""
    own, index = tokenizer(), 0
    made = []
    for group, texts in enumerate(answers):
        for text in texts:
            ids = own.encode(text).ids
            made.append(
                Sample(
                    group_index=group,
                    index=index,
                    prompt="how many",
                    tokens=[1, 2, 3, *ids],
                    response=text,
                    response_length=len(ids),
                    label="five",
                    status=Sample.Status.COMPLETED,
                )
            )
            index += 1
    return made


def arguments(**changes: Any) -> Namespace:
    """The arguments of slime that its code reads here."""
    settings = {
        "custom_rm_path": f"{__name__}.reward",
        "custom_advantage_function_path": f"{__name__}.advantages",
        "reward_key": None,
        "advantage_estimator": "grpo",
        "rewards_normalization": True,
        "grpo_std_normalization": True,
        "n_samples_per_prompt": 2,
        "rollout_batch_size": 2,
        "kl_coef": 0.0,
        "use_opd": False,
        "normalize_advantages": False,
        "use_rollout_logprobs": False,
        "rollout_top_p": 1.0,
    }
    return Namespace(**{**settings, **changes})


async def rewarded(args: Namespace, made: Sequence[Sample]) -> None:
    """What slime's rollout does with each sample."""
    for sample in made:
        sample.reward = await async_rm(args, sample)


def stepped(args: Namespace, made: list[Sample], *, cp_size: int = 1, cp_rank: int = 0) -> dict[str, Any]:
    """Slime's own way from samples to what its loss takes, on one rank."""
    manager = Namespace(
        args=args,
        custom_reward_post_process_func=load_function(f"{__name__}.post_process"),
        custom_convert_samples_to_train_data_func=None,
    )
    manager._post_process_rewards = lambda given: RealManager._post_process_rewards(manager, given)
    data = RealManager._convert_samples_to_train_data(manager, made)
    data["total_lengths"] = [len(tokens) for tokens in data["tokens"]]
    tensorize_rollout_data_for_training(data)
    places = zip(data["total_lengths"], data["response_lengths"], strict=True)
    data["log_probs"] = [
        cp_utils.slice_log_prob_with_cp(torch.zeros(length), total, length) for total, length in places
    ]
    loss.compute_advantages_and_returns(args, data)
    return data


RealManager: Any = getattr(RolloutManager, "__ray_actor_class__", RolloutManager)


async def test_a_planted_reward_reaches_the_advantage_of_its_token(make: Callable[..., Plugin]) -> None:
    """Exactly where it was planted, by the documented formula, in what slime's loss is given."""
    make()
    made = samples()
    await rewarded(arguments(), made)
    assert [sample.reward for sample in made] == [1.0, 0.0, 0.0, 1.0]
    data = stepped(arguments(), made)

    words = [sample.response.split() for sample in made]
    earned = [[PLANTED if word == "wrong" else 0.0 for word in row] for row in words]
    expected = dense_advantages(
        [1.0, 0.0, 0.0, 1.0], earned, [[1] * len(row) for row in words], [0, 0, 1, 1], shaping=SHAPING
    )
    for row, other, said in zip(data["advantages"], expected, words, strict=True):
        assert row.tolist() == pytest.approx(other, abs=1e-6)
        others = {round(value, 5) for value, word in zip(row.tolist(), said, strict=True) if word != "wrong"}
        assert len(others) == 1
        for value, word in zip(row.tolist(), said, strict=True):
            if word == "wrong":
                assert value == pytest.approx(others.copy().pop() + 0.5 * PLANTED, abs=1e-4)
    assert data["raw_reward"] == [1.0, 0.0, 0.0, 1.0]


async def test_a_group_is_rewarded_in_one_call_of_slime(
    make: Callable[..., Plugin], service: FakeServer
) -> None:
    """``--group-rm``: slime hands over a list, and few requests go out."""
    make()
    made = samples()
    assert await batched_async_rm(arguments(), made) == [1.0, 0.0, 0.0, 1.0]
    assert len(service.rollouts) == 4
    assert len(service.received) == 1


async def test_tool_output_is_neither_shaped_nor_counted(make: Callable[..., Plugin]) -> None:
    """A token that the policy did not write has no advantage, and moves no mean, whatever it earned."""
    make()
    made = samples()
    made[1].loss_mask = [1, 1, 1, 0, 1, 1, 1, 1]  # "wrong" was said by a tool
    await rewarded(arguments(), made)
    data = stepped(arguments(), made)
    assert data["advantages"][1][3] == 0.0
    own = {round(value, 5) for value in data["advantages"][1].tolist() if value}
    assert len(own) == 1
    assert data["advantages"][0].tolist() == pytest.approx([-own.pop()] * 6, abs=1e-4)


async def test_ranks_of_a_context_share_the_advantages_of_a_sequence(
    make: Callable[..., Plugin], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With context parallelism each rank has the advantages of its own tokens, and all have each once."""
    make()
    made = samples()
    await rewarded(arguments(), made)
    whole = stepped(arguments(), made)["advantages"]
    parts = []
    for rank in range(2):
        monkeypatch.setattr(cp_utils, "mpu", Ranks(2, rank))
        parts.append(stepped(arguments(), made)["advantages"])
    for row, one, other in zip(whole, *parts, strict=True):
        assert sorted([*one.tolist(), *other.tolist()]) == sorted(row.tolist())
        assert len(one) + len(other) == len(row)


async def test_a_failed_sample_is_removed_and_moves_nothing(
    make: Callable[..., Plugin], service: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The others of its group come out as if it had never been drawn; one line says so."""
    make()
    made = samples([["two and three are five <end>", "so it is wrong <end>", "wrong right <end>"]])
    service.fail("2", "unparseable", "no verdict")
    with caplog.at_level(logging.WARNING, logger="assay"):
        await rewarded(arguments(), made)
        data = stepped(arguments(), made)
    alone = samples([["two and three are five <end>", "so it is wrong <end>"]])
    await rewarded(arguments(), alone)
    without = stepped(arguments(), alone)["advantages"]
    assert [row.tolist() for row in data["advantages"][:2]] == [row.tolist() for row in without]
    assert data["advantages"][2].tolist() == [0.0, 0.0, 0.0]
    assert data["loss_masks"][2].tolist() == [0, 0, 0]
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "1 of 3 rollouts were not judged and are masked out (unparseable: 1)"
    ]


async def test_scalar_keeps_the_outcome_of_a_failed_sample(
    make: Callable[..., Plugin], service: FakeServer
) -> None:
    """Its advantage is the outcome's alone."""
    make(policy=FailurePolicy("scalar"))
    made = samples()
    service.fail("1")
    await rewarded(arguments(), made)
    data = stepped(arguments(), made)
    deviation = math.sqrt(0.5)
    assert data["advantages"][1].tolist() == pytest.approx([-0.5 / deviation] * 8, abs=1e-3)
    assert data["loss_masks"][1].tolist() == [1] * 8


async def test_raise_ends_the_training_in_the_step(make: Callable[..., Plugin], service: FakeServer) -> None:
    """And says which rollout it was."""
    make(policy=FailurePolicy("raise"))
    made = samples()
    service.fail("3", "unparseable", "no verdict")
    await rewarded(arguments(), made)
    with pytest.raises(RolloutFailed, match="no verdict"):
        stepped(arguments(), made)


async def test_a_service_that_stalls_holds_nobody_longer_than_the_deadline(
    make: Callable[..., Plugin], service: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A step goes on without it."""
    import time

    made_by = make(policy=FailurePolicy("skip", timeout_s=0.5))
    made = samples()
    await rewarded(arguments(), made)
    service.delay_s = 60.0
    began = time.monotonic()
    await batched_async_rm(arguments(), made)
    assert time.monotonic() - began < 5.0
    for sample in made:
        sample.reward = 0.0
    data = stepped(arguments(), made)
    assert all(not mask.any() for mask in data["loss_masks"])
    assert sum(made_by.policy.totals.values()) == 4


@pytest.mark.parametrize(
    ("changes", "why"), [({"kl_coef": 0.1}, "KL in the reward"), ({"reward_key": "score"}, "'float'")]
)
async def test_what_cannot_be_is_refused(
    make: Callable[..., Plugin], changes: dict[str, Any], why: str
) -> None:
    """With the option's name."""
    make()
    made = samples()
    await rewarded(arguments(), made)
    with pytest.raises((ValueError, TypeError), match=why):
        stepped(arguments(**changes), made)


async def test_samples_that_nobody_asked_about_are_a_mistake_in_the_set_up(
    make: Callable[..., Plugin],
) -> None:
    """The reward function was forgotten: no training on nothing."""
    make()
    made = samples()
    for sample in made:
        sample.reward = 1.0
    with pytest.raises(RolloutFailed, match="custom-rm-path"):
        stepped(arguments(), made)


async def test_samples_that_grew_after_they_were_rewarded_are_refused(make: Callable[..., Plugin]) -> None:
    """Rewards of other tokens are not guessed at."""
    make()
    made = samples()
    await rewarded(arguments(), made)
    made[0].response_length += 1
    with pytest.raises(ValueError, match="judged with 6 tokens and has 7"):
        stepped(arguments(), made)
