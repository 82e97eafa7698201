"""Dense advantages inside TRL: what the service says of a token is what the loss is given for that very token."""

from typing import Any

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer, RLOOConfig

import assay
from assay.dense import Shaping, dense_advantages
from assay.trl import AssayReward, DenseGRPOTrainer

PLAIN = Shaping(baseline="none")


class Watched(DenseGRPOTrainer):
    """Keeps what every loss was given."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.given: list[dict[str, Any]] = []
        super().__init__(*arguments, **named)

    def compute_loss(self, model: Any, inputs: Any, *more: Any, **named: Any) -> Any:
        """TRL's."""
        self.given.append(inputs)
        return super().compute_loss(model, inputs, *more, **named)

    def rows(self) -> list[tuple[list[int], list[float]]]:
        """Ids and advantages of every completion, without the padding."""
        return [
            (ids[mask == 1].tolist(), advantages[mask == 1].tolist())
            for one in self.given
            for ids, mask, advantages in zip(
                one["completion_ids"], one["completion_mask"], one["advantages"], strict=True
            )
        ]


def even(completion_ids: list[list[int]], **more: Any) -> list[float]:
    """An outcome that differs within a group."""
    return [float(ids[0] % 2) for ids in completion_ids]


@pytest.fixture
def planted(planted_url: str, named_tokenizer: dict[str, str]) -> AssayReward:
    """A reward whose service plants it."""
    return AssayReward(planted_url, task="math-steps", tokenizer=named_tokenizer, deadline_s=10)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 2, "num_generations": 4},
        {"steps_per_generation": 4, "num_iterations": 2, "max_steps": 8, "num_generations": 2},
        {"gradient_accumulation_steps": 2, "steps_per_generation": 4, "num_iterations": 2, "max_steps": 8},
        {"loss_type": "grpo", "beta": 0.1, "top_entropy_quantile": 0.5},
    ],
    ids=["plain", "accumulated", "reused", "both", "kl"],
)
def test_a_planted_reward_is_found_again_at_its_token(
    settings: dict[str, Any],
    planted: AssayReward,
    planter: Any,
    policy: Any,
    tokenizer: Any,
    problems: Any,
    arguments: Any,
    tmp_path: Any,
) -> None:
    """Exactly there and nowhere else, through accumulation, shuffling, splitting and reuse; and the policy moves."""
    policy.save_pretrained(tmp_path / "policy")  # with a KL term TRL loads its reference from there
    trainer = Watched(
        str(tmp_path / "policy"),
        args=arguments(**settings),
        train_dataset=problems,
        processing_class=tokenizer,
        dense=[(planted, PLAIN)],
    )
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    rows = trainer.rows()
    assert rows
    assert {tuple(ids) for ids, _ in rows} <= {tuple(ids) for ids in planter.seen}
    for ids, advantages in rows:
        assert advantages == planter.rewards(ids)
    assert any(not torch.equal(before[name], weight) for name, weight in trainer.model.named_parameters())


def test_outcomes_and_shaping_are_those_of_the_formula(
    planted: AssayReward, planter: Any, policy: Any, tokenizer: Any, problems: Any, arguments: Any
) -> None:
    """What the loss is given is what ``assay.dense`` makes of the same groups, failed rollouts included."""
    planter.fail = lambda ids: ids[-1] % 3 == 0
    shaping = Shaping(weight=0.5, baseline="position", gamma=0.9)
    settings = arguments(per_device_train_batch_size=2, gradient_accumulation_steps=8, max_steps=1)
    trainer = Watched(
        policy,
        [even],
        settings,
        train_dataset=problems,
        processing_class=tokenizer,
        dense=[(planted, shaping)],
    )
    trainer.train()
    batch = planter.seen  # sixteen completions in the order of their groups
    failed = [planter.fail(ids) for ids in batch]
    assert 0 < sum(failed) < 16
    expected = dense_advantages(
        even(batch),
        [None if bad else planter.rewards(ids) for bad, ids in zip(failed, batch, strict=True)],
        [[1] * len(ids) for ids in batch],
        [index // 4 for index in range(16)],
        shaping=shaping,
    )
    by_ids = {tuple(ids): row for ids, row in zip(batch, expected, strict=True)}
    assert len(trainer.rows()) == 16
    for ids, advantages in trainer.rows():
        assert advantages == pytest.approx(by_ids[tuple(ids)], abs=1e-5)
    (logged,) = [entry for entry in trainer.state.log_history if "assay/math-steps/failed" in entry]
    assert logged["assay/math-steps/failed"] == pytest.approx(sum(failed) / 16)
    assert logged["assay/math-steps/shaping"] > 0


def test_weight_zero_trains_like_trl(
    planted: AssayReward, policy: Any, tokenizer: Any, problems: Any, arguments: Any
) -> None:
    """To the last bit of every weight."""
    import copy

    one, other = copy.deepcopy(policy), copy.deepcopy(policy)
    common = {"train_dataset": problems, "processing_class": tokenizer}
    GRPOTrainer(one, [even], arguments(), **common).train()
    DenseGRPOTrainer(other, [even], arguments(), dense=[(planted, Shaping(weight=0.0))], **common).train()
    for left, right in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("on_failure", ["skip", "scalar"])
def test_what_failed_is_masked_or_keeps_its_outcome(
    on_failure: Any,
    planter: Any,
    planted_url: str,
    named_tokenizer: Any,
    policy: Any,
    tokenizer: Any,
    problems: Any,
    arguments: Any,
) -> None:
    """A service that is overloaded fails all of a step: nothing is learned, or what plain GRPO would learn."""
    planter.status = 503
    reward = AssayReward(planted_url, task="math-steps", tokenizer=named_tokenizer, on_failure=on_failure)
    before = {name: weight.clone() for name, weight in policy.named_parameters()}
    trainer = Watched(
        policy,
        [even],
        arguments(),
        train_dataset=problems,
        processing_class=tokenizer,
        dense=[(reward, PLAIN)],
    )
    trainer.train()
    rows = [advantages for _, advantages in trainer.rows()]
    assert any(map(any, rows)) == (on_failure == "scalar")
    assert all(len(set(row)) == 1 for row in rows)
    moved = any(not torch.equal(before[name], weight) for name, weight in policy.named_parameters())
    assert moved == (on_failure == "scalar")
    assert trainer.state.log_history[0]["assay/math-steps/failed"] == 1.0


def test_raise_ends_the_training_and_so_does_a_refused_call(
    planter: Any,
    planted_url: str,
    named_tokenizer: Any,
    policy: Any,
    tokenizer: Any,
    problems: Any,
    arguments: Any,
) -> None:
    """What would be refused at every step is no failure of a rollout."""
    for status, on_failure, error in (
        (503, "raise", assay.AssayError),
        (422, "skip", assay.CallRejected),
    ):
        planter.status = status
        reward = AssayReward(planted_url, task="math-steps", tokenizer=named_tokenizer, on_failure=on_failure)
        trainer = DenseGRPOTrainer(
            policy,
            [even],
            arguments(),
            train_dataset=problems,
            processing_class=tokenizer,
            dense=[(reward, PLAIN)],
        )
        with pytest.raises(error):
            trainer.train()


def test_truncated_completions_and_tools_are_not_shaped(
    planted: AssayReward, policy: Any, tokenizer: Any, problems: Any, arguments: Any
) -> None:
    """Rollouts that TRL masks have no advantage; tokens that the environment wrote have none either."""

    def rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
        ids = [[5, 6, 7 + index, 8] + [0] * (index % 2) for index in range(len(prompts))]
        return {
            "prompt_ids": [[9] for _ in prompts],
            "completion_ids": ids,
            "logprobs": [[0.0] * len(one) for one in ids],
            "env_mask": [[1, 0, 1, 1] + [1] * (index % 2) for index in range(len(prompts))],
        }

    with pytest.warns(UserWarning, match="rollout_func"):
        trainer = Watched(
            policy,
            args=arguments(mask_truncated_completions=True, max_steps=1),
            train_dataset=problems,
            processing_class=tokenizer,
            dense=[(planted, Shaping(baseline="group", weight=1.0))],
            rollout_func=rollout,
        )
    trainer.train()
    (given,) = trainer.given
    # Two of four end by themselves; of their four own tokens each, those that carry 7 are not the second ones.
    ended = [ids.tolist() for ids in given["completion_ids"] if ids[-1] == 0]
    own = [sum(ids) % 5 != 1 for ids in ended]
    mean = 7 * sum(own) / 8
    for ids, advantages in zip(given["completion_ids"].tolist(), given["advantages"], strict=True):
        if ids[-1] != 0:
            assert not advantages.any()
            continue
        expected = [0.0 if place == 1 else 7.0 * (place == sum(ids) % 5) - mean for place in range(5)]
        assert advantages.tolist() == pytest.approx(expected)


def test_losses_of_whole_sequences_are_refused(
    planted: AssayReward, policy: Any, tokenizer: Any, problems: Any, arguments: Any, tmp_path: Any
) -> None:
    """With what to do instead."""

    def build(trainer: Any, args: Any) -> Any:
        return trainer(
            policy, [even], args, train_dataset=problems, processing_class=tokenizer, dense=[(planted, PLAIN)]
        )

    with pytest.raises(ValueError, match='importance_sampling_level="token"'):
        build(DenseGRPOTrainer, arguments(importance_sampling_level="sequence"))
    for loss in ("luspo", "vespo"):
        with pytest.raises(ValueError, match=loss):
            build(DenseGRPOTrainer, arguments(loss_type=loss))
    with pytest.raises(TypeError, match="RLOOConfig"):
        build(DenseGRPOTrainer, RLOOConfig(str(tmp_path), use_cpu=True, bf16=False, report_to=[]))

    class Geometric(DenseGRPOTrainer):
        def _compute_loss(self, model: Any, inputs: Any) -> Any:
            return super()._compute_loss(model, inputs)

    with pytest.raises(TypeError, match="GMPO"):
        build(Geometric, arguments())
    sequence = AssayReward(route="sequence", tokenizer=tokenizer)
    with pytest.raises(ValueError, match="reward_funcs"):
        DenseGRPOTrainer(policy, [even], arguments(), dense=[(sequence, PLAIN)])


def test_reward_weights_are_those_of_the_outcomes(
    planted: AssayReward, policy: Any, tokenizer: Any, problems: Any, arguments: Any
) -> None:
    """The user's settings are not touched; a dense reward has no weight in the outcome."""
    settings: GRPOConfig = arguments(reward_weights=[2.0, 3.0])
    trainer = DenseGRPOTrainer(
        policy,
        [even, even],
        settings,
        train_dataset=problems,
        processing_class=tokenizer,
        dense=[(planted, PLAIN)],
    )
    assert trainer.reward_weights.tolist() == [2.0, 3.0, 0.0]
    assert settings.reward_weights == [2.0, 3.0]
