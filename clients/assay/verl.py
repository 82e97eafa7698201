"""veRL: token rewards from the service to the advantages of its V1 trainer. Written against verl 0.9.1.

A file of yours, say ``math_reward.py``, that every process of the training can import::

    from assay.dense import Shaping
    from assay.policy import FailurePolicy
    from assay.token_rewards import TokenRewards
    from assay.verl import DenseRewardManager, install

    class MathReward(DenseRewardManager):
        rewards = TokenRewards(task="math-steps")
        policy = FailurePolicy("skip", timeout_s=30)
        shaping = Shaping(weight=0.5)

    install(MathReward)

and on veRL's command line, with ``VERL_USE_EXTERNAL_MODULES=math_reward`` in the environment of all processes::

    reward.reward_manager.source=importlib reward.reward_manager.name=MathReward
    reward.reward_manager.module.path=/path/of/math_reward.py
    algorithm.adv_estimator=assay_dense

The manager runs in veRL's reward workers, rollout by rollout while others are generated. The outcome is what veRL's
own reward function says (``custom_reward_function``, or the one of the data source) and stays alone in ``rm_scores``:
scores in logs, validation and the filtering of groups are those of the outcome. Token rewards travel beside it, as a
field of their own in the TransferQueue, and meet the outcome in the estimator::

    A[i][t] = m[i][t] * (A_out[i] + weight * S[i][t])        (assay.dense)

    R[i] of A_out: the sum of the rollout's token_level_rewards (the outcome, less the KL penalty where veRL adds one)
    m: response_mask;  groups: uid;  scale: "std", or "mean" with norm_adv_by_std_in_grpo=False

With ``gae`` and ``reinforce_plus_plus``, which keep what each token earned, there is no estimator of ours:
``weight * r[t]`` is added to ``rm_scores`` instead. All other estimators add token rewards up to one number, and are
refused.

A rollout that was not judged has a ``response_mask`` of zeros (``skip``), or keeps its outcome alone (``scalar``); the
trainer's process logs once a step how many there were, and with ``raise`` ends there. veRL's reward models that share
the trainer's GPUs, agent loops with several outputs a rollout, and the V0 trainer are refused: their rewards take other
ways.
"""

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

import transfer_queue
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput
from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager
from verl.trainer.ppo.core_algos import register_adv_est
from verl.trainer.ppo.v1 import trainer_base

from .dense import Shaping, outcome_advantages, shape
from .policy import FailurePolicy
from .token_rewards import Judged, TokenRewards, failed, messages
from .wire import Failed

ESTIMATOR: Final = "assay_dense"
RECORD: Final = "assay"
"""Under this key of ``reward_extra_info`` a rollout's token rewards leave the reward worker."""
REWARDS: Final = "assay_rewards"
FAILURE: Final = "assay_failure"
"""Fields of the TransferQueue: rewards (T,), NaN where there are none; and why there are none, or {}."""
_BY_TOKEN: Final = ("gae", "reinforce_plus_plus")
_NOT_ASKED: Final = {
    "rewards": None,
    "failure": {
        "id": "0",
        "kind": "invalid",
        "detail": "reward.reward_manager is another, or the agent loop rewarded its rollout itself",
    },
    "masked": True,
    "added": 0.0,
}
_TRAIN: Final = "train"
_PADDING: Final = "pad"


class DenseRewardManager(NaiveRewardManager):  # type: ignore[misc]
    """veRL's reward manager by rules, and token rewards beside. Subclass it: ``rewards`` has to be said.

    ``outcome=False`` asks no reward function: the outcome is 0.0. ``reference`` names the key of ``reward_model`` that
    is sent as the reference solution (None: none is sent).
    """

    rewards: ClassVar[TokenRewards]
    policy: ClassVar[FailurePolicy] = FailurePolicy()
    shaping: ClassVar[Shaping] = Shaping()
    outcome: ClassVar[bool] = True
    reference: ClassVar[str | None] = None

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any, *given: Any, **named: Any) -> None:
        super().__init__(config, tokenizer, compute_score, *given, **named)
        self.added = _added_to_scores(config, self.shaping)

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """What veRL asks for: ``reward_score`` and ``reward_extra_info`` of one rollout."""
        whole, judged = await asyncio.gather(
            super().run_single(data) if self.outcome else _no_outcome(), self._judge(data)
        )
        record: dict[str, Any] = {"rewards": None, "failure": {}, "masked": False, "added": self.added}
        if isinstance(judged, Failed):
            alone = self.outcome and self.policy.on_failure == "scalar" and len(data) == 1
            record["failure"] = {"id": judged.id, "kind": judged.kind, "detail": judged.detail}
            record["masked"] = not alone
        else:
            record["rewards"] = list(judged)
        extra = {"assay_failed": float(isinstance(judged, Failed)), RECORD: record}
        return {**whole, "reward_extra_info": {**whole["reward_extra_info"], **extra}}

    def rollout_of(self, data: DataProto) -> tuple[list[int], dict[str, Any]]:
        """The response's ids, and the fields of the rollout that is sent; override it to send others."""
        item = data[0]
        own = item.batch["attention_mask"][-item.batch["responses"].shape[-1] :].bool()
        said = item.non_tensor_batch
        fields: dict[str, Any] = {"prompt": messages(said["raw_prompt"])}
        if self.reference is not None:
            fields["reference"] = str(said["reward_model"][self.reference])
        return item.batch["responses"][own].tolist(), fields

    async def _judge(self, data: DataProto) -> Judged:
        if len(data) != 1:
            return failed("invalid", f"the agent loop gave {len(data)} outputs for one rollout")
        token_ids, fields = self.rollout_of(data)
        prompt = fields.pop("prompt")
        return await self.rewards.judge(
            prompt, token_ids, tokenizer=self.tokenizer, policy=self.policy, **fields
        )


def install(manager: type[DenseRewardManager]) -> None:
    """Let token rewards through in this process, with the settings of ``manager``. Again: the last settings count."""
    _settings[:] = [manager]
    if not hasattr(AgentLoopOutput.as_dict, "__wrapped__"):
        AgentLoopOutput.as_dict = _with_fields(AgentLoopOutput.as_dict)
    if not hasattr(trainer_base.compute_advantage_for_multi_trajectories, "__wrapped__"):
        trainer_base.compute_advantage_for_multi_trajectories = _with_token_rewards(
            trainer_base.compute_advantage_for_multi_trajectories
        )


_settings: Final[list[type[DenseRewardManager]]] = []


@register_adv_est(ESTIMATOR)  # type: ignore[untyped-decorator]
def dense_advantage(
    token_level_rewards: Any,
    response_mask: Any,
    index: Any,
    config: Any = None,
    reward_baselines: Any = None,
    **_: Any,
) -> tuple[Any, Any]:
    """Advantages and returns, both (B, T): the formula of this module.

    ``token_level_rewards`` and ``response_mask`` are (B, T), ``index`` has a group for each row. veRL hands estimators
    no other field of a batch, so the token rewards (B, T), NaN where a rollout has none, come as ``reward_baselines``.
    A row without an own token is that of a rollout that failed, or of padding: it moves no mean.
    """
    if reward_baselines is None or not _settings:
        raise RuntimeError(
            "no token rewards arrived: say VERL_USE_EXTERNAL_MODULES in the environment of all processes, "
            "with a module that calls assay.verl.install"
        )
    by_std = True if config is None else config.get("norm_adv_by_std_in_grpo", True)
    masks = response_mask.bool().int().tolist()
    learned = [any(mask) for mask in masks]
    totals = token_level_rewards.sum(-1).tolist()
    whole = outcome_advantages(
        [total if own else None for total, own in zip(totals, learned, strict=True)],
        list(index),
        scale="std" if by_std else "mean",
    )
    rewards = [
        row if own and row[0] == row[0] else None  # NaN is not itself
        for row, own in zip(reward_baselines.tolist(), learned, strict=True)
    ]
    rows = shape(rewards, masks, list(index), _settings[0].shaping)
    shaped = token_level_rewards.new_tensor(rows)
    advantages = (token_level_rewards.new_tensor(whole).unsqueeze(-1) + shaped) * response_mask
    return advantages, advantages.clone()


def _added_to_scores(config: Any, shaping: Shaping) -> float:
    """The weight by which token rewards are added to ``rm_scores``; 0 where our estimator takes them."""
    if config.trainer.get("use_v1", True) is False:
        raise ValueError("assay.verl needs the V1 trainer: trainer.use_v1=True")
    model = config.reward.reward_model
    if model.enable and not model.get("enable_resource_pool", False):
        raise ValueError(
            "veRL asks for rewards batch by batch while a reward model shares the trainer's GPUs, and drops what each "
            "token earned: let the service host the model (reward.reward_model.enable=False)"
        )
    estimator = str(config.algorithm.adv_estimator)
    if estimator not in (ESTIMATOR, *_BY_TOKEN):
        raise ValueError(
            f"algorithm.adv_estimator={estimator} adds up what the tokens of a response earned: "
            f"use {ESTIMATOR}, or one of {', '.join(_BY_TOKEN)}"
        )
    return 0.0 if estimator == ESTIMATOR else shaping.weight


async def _no_outcome() -> dict[str, Any]:
    return {"reward_score": 0.0, "reward_extra_info": {}}


def _with_fields(as_dict: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """What an agent loop puts into the TransferQueue, and the token rewards with it."""

    @functools.wraps(as_dict)
    def with_fields(self: Any) -> dict[str, Any]:
        output = as_dict(self)
        extra = output["extra_fields"]
        told = dict(extra.get("reward_extra_info") or {})
        record: Mapping[str, Any] = told.pop(RECORD, _NOT_ASKED)
        if "rm_scores" not in output:
            return output
        output["extra_fields"] = {**extra, "reward_extra_info": told}
        mask, rewards = output["response_mask"], record["rewards"]
        if rewards is not None and len(rewards) != len(mask):
            raise RuntimeError(f"{len(rewards)} token rewards for a response of {len(mask)} tokens")
        row = output["rm_scores"].new_tensor([float("nan")] * len(mask) if rewards is None else rewards)
        output[REWARDS], output[FAILURE] = row, record["failure"]
        if record["masked"]:
            output["response_mask"] = mask * 0
        elif rewards is not None and record["added"]:
            output["rm_scores"] = output["rm_scores"] + record["added"] * row * mask
        return output

    return with_fields


def _with_token_rewards(compute: Callable[..., Any]) -> Callable[..., Any]:
    """VeRL's step from rewards to advantages, with the token rewards fetched first."""

    @functools.wraps(compute)
    def with_token_rewards(
        data: Any, batch_keys: Sequence[str], adv_estimator: Any, *given: Any, **named: Any
    ) -> Any:
        fields = transfer_queue.kv_batch_get(
            keys=list(batch_keys), partition_id=_TRAIN, select_fields=[REWARDS, FAILURE]
        )
        _settle(batch_keys, list(fields[FAILURE]))
        if str(adv_estimator) == ESTIMATOR:
            rewards = fields[REWARDS]
            if rewards.is_nested:
                rewards = rewards.to_padded_tensor(padding=float("nan"))
            scores = data.batch["token_level_rewards"]
            padded = scores.new_full(scores.shape, 0.0)
            padded[:, : rewards.shape[1]] = rewards
            padded[:, 1:] = padded[:, 1:].nan_to_num()
            data.batch["reward_baselines"] = padded
        return compute(data, batch_keys, adv_estimator, *given, **named)

    return with_token_rewards


def _settle(batch_keys: Sequence[str], failures: Sequence[Mapping[str, str]]) -> None:
    """Count and log the step's failures; raises by policy ``raise``. veRL's padding is nobody's rollout."""
    rollouts = [
        failed(told["kind"], told["detail"], told["id"]) if told else None
        for key, told in zip(batch_keys, failures, strict=True)
        if not key.startswith(_PADDING)
    ]
    _settings[0].policy.settle(rollouts)
