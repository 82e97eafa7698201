"""OpenRLHF: token rewards from the agent executor to the advantages. Written against openrlhf 0.11.2.

A file of yours that Ray's processes can import, say ``math_reward.py``::

    from assay import openrlhf
    from assay.token_rewards import TokenRewards

    class AgentExecutor(openrlhf.DenseAgentExecutor):
        rewards = TokenRewards(task="math-steps")

        async def outcome(self, prompt, response, label):
            return float(label in response)

    def install():
        openrlhf.install(AgentExecutor)

The executor is named on the command line (``--train.agent_func_path /path/of/math_reward.py``) and asks while others
generate. Advantages are made in another process, where nothing of OpenRLHF's asks for a user's code; so Ray is started
by a launcher whose ``runtime_env`` has ``{"worker_process_setup_hook": "math_reward.install"}``
(``examples/trainers/openrlhf_train.py``). Then, with ``--algo.advantage.estimator group_norm`` or ``dr_grpo``::

    A[i][t] = m[i][t] * (A_out[i] + weight * S[i][t]) - kl_coef * (sum of the KL from t on)        (assay.dense)

    R[i]: the outcome, less OpenRLHF's length penalties;  m: action_mask;  groups: n_samples_per_prompt in a row
    scale: "std" for group_norm, "mean" for dr_grpo

Other estimators whiten over the whole batch or need values, which would mix up what the tokens earned: refused.

OpenRLHF takes a list for a reward without a word, and trains on its first numbers. Here an outcome that is not one
finite number ends the run, wherever it comes from; token rewards travel in ``extra_logs`` and are gone before the logs.

A rollout that was not judged has an ``action_mask`` of zeros (``skip``), or keeps its outcome alone (``scalar``); how
many there were is logged once a step, and with ``raise`` the training ends there.
"""

import asyncio
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from openrlhf.utils.agent import SingleTurnAgentExecutor

from .dense import Scale, Shaping, outcome_advantages, shape
from .policy import FailurePolicy
from .token_rewards import Judged, TokenRewards, failed
from .wire import Failed

REWARDS: Final = "assay_rewards"
FAILURE: Final = "assay_failure"
"""Keys of ``extra_logs``, which takes numbers only: rewards, one per response token; and the bytes of why not, or 0."""
_SCALES: Final[dict[str, Scale]] = {"group_norm": "std", "dr_grpo": "mean"}
_EPSILON: Final = 1e-9
_LONGEST: Final = 200


class DenseAgentExecutor(SingleTurnAgentExecutor):  # type: ignore[misc]
    """OpenRLHF's executor of one turn, and token rewards. Subclass it: ``rewards`` has to be said.

    ``reference`` sends the label as the reference solution.
    """

    rewards: ClassVar[TokenRewards]
    policy: ClassVar[FailurePolicy] = FailurePolicy()
    shaping: ClassVar[Shaping] = Shaping()
    reference: ClassVar[bool] = False

    async def outcome(self, prompt: str, response: str, label: Any) -> float:
        """What the whole response is worth; override it. Special tokens are part of the response."""
        return 0.0

    async def execute(
        self,
        prompt: str,
        label: Any,
        sampling_params: Any,
        max_length: int,
        hf_tokenizer: Any,
        llm_engine: Any,
        images: Any = None,
    ) -> dict[str, Any]:
        """One rollout, rewarded."""
        output: dict[str, Any] = await super().execute(
            prompt, label, sampling_params, max_length, hf_tokenizer, llm_engine, images
        )
        [(start, end)] = output["action_ranges"]
        token_ids = list(output["observation_tokens"][start:end])
        fields = {"reference": str(label)} if self.reference else {}
        outcome, judged = await asyncio.gather(
            self.outcome(prompt, hf_tokenizer.decode(token_ids, skip_special_tokens=False), label),
            self.rewards.judge(
                prompt,
                token_ids,
                tokenizer=hf_tokenizer,
                policy=self.policy,
                truncated=bool(output["truncated"]),
                **fields,
            ),
        )
        outcome = _one_number(outcome)
        if isinstance(judged, Failed):
            rewards, why = [math.nan] * len(token_ids), f"{judged.kind}: {judged.detail}"
        else:
            rewards, why = list(judged), ""
        told = list(why.encode()[:_LONGEST]) or [0]
        extra = {**output["extra_logs"], REWARDS: rewards, FAILURE: told}
        return {**output, "reward": outcome, "scores": outcome, "extra_logs": extra}


def install(executor: type[DenseAgentExecutor]) -> None:
    """Let this process make dense advantages, by the settings of ``executor``. Again: the last settings count."""
    import torch
    from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker

    compute = functools.partial(dense_advantages_and_returns, executor=executor)

    def compute_advantages_and_returns(self: Any, experiences: list[Any]) -> list[Any]:
        with torch.no_grad():
            return compute(self, experiences)

    RemoteExperienceMaker.compute_advantages_and_returns = compute_advantages_and_returns


def dense_advantages_and_returns(
    maker: Any, experiences: list[Any], *, executor: type[DenseAgentExecutor]
) -> list[Any]:
    """In place of ``RemoteExperienceMaker.compute_advantages_and_returns``: the formula of this module.

    Sets ``advantages`` and ``returns`` (B, A), and ``action_mask`` to zeros for what is not learned from.
    """
    from openrlhf.models.utils import compute_reward
    from openrlhf.trainer.ppo_utils.length_penalty import apply_length_penalties

    args = maker.strategy.args
    if maker.advantage_estimator not in _SCALES:
        raise ValueError(
            f"--algo.advantage.estimator {maker.advantage_estimator} cannot have dense advantages: "
            f"use one of {', '.join(_SCALES)}"
        )
    for experience in experiences:
        _check_outcomes(experience)
        experience.rewards = experience.rewards.float()
    apply_length_penalties(experiences, args)

    judged = [one for experience in experiences for one in _judged(experience)]
    outcomes = [outcome for experience in experiences for outcome in experience.rewards.tolist()]
    alone = executor.policy.on_failure == "scalar" and executor.outcome is not DenseAgentExecutor.outcome
    executor.policy.settle(judged, scalars=outcomes if alone else None)
    learned = [alone or not isinstance(one, Failed) for one in judged]
    _mask_out(experiences, learned)

    indices = itertools.chain.from_iterable(experience.index for experience in experiences)
    groups = [index // args.rollout.n_samples_per_prompt for index in indices]
    whole = outcome_advantages(
        [outcome if own else None for outcome, own in zip(outcomes, learned, strict=True)],
        groups,
        scale=_SCALES[maker.advantage_estimator],
        epsilon=_EPSILON,
    )
    shaped = shape(
        [None if isinstance(one, Failed) else one for one in judged],
        [[1] * own for own in _token_counts(experiences)],
        groups,
        executor.shaping,
    )
    rows = zip(whole, shaped, strict=True)
    for experience in experiences:
        own = [next(rows) for _ in range(len(experience.rewards))]
        zeros = experience.rewards.new_zeros(len(own))
        penalty = compute_reward(zeros, maker.kl_ctl.value, experience.kl, action_mask=experience.action_mask)
        returns = maker.get_cumulative_returns(penalty, experience.action_mask, 1.0)
        for row, mask, (advantage, tokens) in zip(returns, experience.action_mask, own, strict=True):
            places = mask.bool()
            if places.any():
                row[places] += row.new_tensor(tokens) + advantage
        experience.returns = returns * experience.action_mask
        experience.advantages = experience.returns.clone()
        experience.info["return"] = penalty.sum(-1) + penalty.new_tensor([advantage for advantage, _ in own])
        experience.kl = None
    return experiences


def _one_number(outcome: Any) -> float:
    """Refuses what OpenRLHF would take and misread."""
    try:
        number = float(outcome)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"an outcome is one number, not {type(outcome).__name__}: what each token earned is asked of the service"
        ) from error
    if not math.isfinite(number):
        raise ValueError(f"an outcome is a finite number, not {number}")
    return number


def _check_outcomes(experience: Any) -> None:
    rewards = experience.rewards
    if rewards is None or rewards.dim() != 1 or len(rewards) != len(experience.action_mask):
        shape = None if rewards is None else tuple(rewards.shape)
        raise ValueError(
            f"rewards have the shape {shape} for {len(experience.action_mask)} rollouts: one number a rollout. "
            "OpenRLHF takes lists, and would train on their first numbers"
        )
    if REWARDS not in experience.info:
        raise ValueError(
            "rollouts came without token rewards: is --train.agent_func_path a DenseAgentExecutor?"
        )


def _judged(experience: Any) -> list[Judged]:
    """What each rollout of a micro-batch earned, one number per own token. Takes it out of ``info``: rows differ."""
    rows = experience.info.pop(REWARDS).tolist()
    failures = experience.info.pop(FAILURE).tolist()
    counts = _token_counts([experience])
    judged: list[Judged] = []
    for index, row, told, count in zip(experience.index, rows, failures, counts, strict=True):
        why = bytes(told).rstrip(b"\0").decode("utf-8", "replace")
        if why:
            kind, _, detail = why.partition(": ")
            judged.append(failed(kind, detail, str(index)))
        elif len(row) < count:
            raise ValueError(f"rollout {index} has {len(row)} token rewards and {count} tokens")
        else:
            judged.append(tuple(row[:count]))  # OpenRLHF cuts off what exceeds max_len, and pads
    return judged


def _token_counts(experiences: Sequence[Any]) -> list[int]:
    return [int(row.sum()) for experience in experiences for row in experience.action_mask]


def _mask_out(experiences: Sequence[Any], learned: Sequence[bool]) -> None:
    rows = iter(learned)
    for experience in experiences:
        own = experience.action_mask.new_tensor([int(next(rows)) for _ in range(len(experience.action_mask))])
        experience.action_mask = experience.action_mask * own.unsqueeze(1)
