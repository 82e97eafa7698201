"""slime: token rewards by plugin functions. Written against slime 0.3.1 (624b824a8).

A module of yours that slime's processes can import, say ``math_reward.py``::

    from assay.slime import Plugin
    from assay.token_rewards import TokenRewards

    plugin = Plugin(TokenRewards(task="math-steps"), tokenizer="Qwen/Qwen3-4B", outcome=right_or_wrong)
    reward, post_process, advantages = plugin.reward, plugin.post_process, plugin.advantages

and on slime's command line::

    --custom-rm-path math_reward.reward
    --custom-reward-post-process-path math_reward.post_process
    --custom-advantage-function-path math_reward.advantages

``reward`` asks while other samples are generated, one sample or a group (``--group-rm``) at a time. ``sample.reward``
is the outcome, a number, so that slime's logs, filters and evaluation are about the outcome; token rewards lie beside
it in ``sample.metadata``. ``post_process`` sees all samples of a step together and makes advantages of them::

    A[i][t] = m[i][t] * (A_out[i] + weight * S[i][t])        (assay.dense)

    R[i]: the outcome;  m: sample.loss_mask;  groups: sample.group_index
    scale: "std", "mean" with --disable-grpo-std-normalization, "none" with --disable-rewards-normalization

``advantages`` puts them where the loss takes them, cut by context parallelism. slime's KL in the reward
(``--kl-coef``) is refused, its KL loss is not.

A sample that was not judged is removed (``skip``: a loss mask of zeros, and it moves no mean), or keeps its outcome
alone (``scalar``); how many there were is logged once a step, and with ``raise`` the training ends there.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from .dense import Scale, Shaping, outcome_advantages, shape
from .policy import FailurePolicy
from .token_rewards import Judged, TokenRewards, failed, messages
from .wire import Failed

Sample = Any
Outcome = Callable[[Sample], float | Awaitable[float]]
KEY: Final = "assay"
"""Under this key of ``sample.metadata`` lies what the service said of it."""


class Plugin:
    """The three functions, with what they have in common.

    ``tokenizer`` is the policy's: its name or folder for transformers, or the object; None where ``rewards`` names one
    that the service loads. ``outcome`` makes the number of a sample that ``sample.reward`` becomes, 0.0 without.
    ``reference`` sends ``sample.label`` as the reference solution.
    """

    def __init__(
        self,
        rewards: TokenRewards,
        *,
        tokenizer: Any = None,
        outcome: Outcome | None = None,
        shaping: Shaping | None = None,
        policy: FailurePolicy | None = None,
        reference: bool = False,
    ) -> None:
        if tokenizer is None and rewards.tokenizer is None:
            raise ValueError("say the policy's tokenizer: here, or in TokenRewards for the service to load")
        self.rewards = rewards
        self.outcome = outcome
        self.shaping = shaping or Shaping()
        self.policy = policy or FailurePolicy()
        self.reference = reference
        self._tokenizer = tokenizer

    async def reward(self, args: Any, sample: Sample | list[Sample], **_: Any) -> Any:
        """Slime's ``--custom-rm-path``: the outcome of a sample, or of each of a group."""
        if isinstance(sample, list):
            return list(await asyncio.gather(*[self.reward(args, one) for one in sample]))
        outcome, judged = await asyncio.gather(self._outcome(sample), self._judge(sample))
        record: dict[str, Any] = {"rewards": None, "failure": None}
        if isinstance(judged, Failed):
            record["failure"] = {"id": judged.id, "kind": judged.kind, "detail": judged.detail}
        else:
            record["rewards"] = list(judged)
        sample.metadata = {**(sample.metadata or {}), KEY: record}
        return outcome

    def post_process(self, args: Any, samples: Sequence[Sample]) -> tuple[list[float], list[Any]]:
        """Slime's ``--custom-reward-post-process-path``: outcomes, and advantages as tensors (response_length,)."""
        import torch

        if getattr(args, "kl_coef", 0):
            raise ValueError("assay.slime has no KL in the reward (--kl-coef): use --use-kl-loss")
        outcomes = [float(sample.get_reward_value(args)) for sample in samples]
        judged = [_said(sample) for sample in samples]
        alone = self.policy.on_failure == "scalar" and self.outcome is not None
        self.policy.settle(judged, scalars=outcomes if alone else None)
        for sample, one in zip(samples, judged, strict=True):
            sample.remove_sample = sample.remove_sample or (isinstance(one, Failed) and not alone)
        learned = [not sample.remove_sample for sample in samples]
        masks = [
            _mask(sample) if own else [0] * sample.response_length
            for sample, own in zip(samples, learned, strict=True)
        ]
        groups = [sample.group_index for sample in samples]
        whole = outcome_advantages(
            [outcome if own else None for outcome, own in zip(outcomes, learned, strict=True)],
            groups,
            scale=_scale(args),
        )
        shaped = shape(
            [
                None if isinstance(one, Failed) or not own else one
                for one, own in zip(judged, learned, strict=True)
            ],
            masks,
            groups,
            self.shaping,
        )
        return outcomes, [
            torch.tensor(
                [(advantage + token) * own for token, own in zip(row, mask, strict=True)], dtype=torch.float32
            )
            for advantage, row, mask in zip(whole, shaped, masks, strict=True)
        ]

    def advantages(self, args: Any, rollout_data: dict[str, Any]) -> None:
        """Slime's ``--custom-advantage-function-path``: each rank takes its own part of the advantages."""
        from slime.backends.megatron_utils.cp_utils import slice_log_prob_with_cp

        places = zip(
            rollout_data["rewards"],
            rollout_data["kl"],
            rollout_data["total_lengths"],
            rollout_data["response_lengths"],
            strict=True,
        )
        own = [
            slice_log_prob_with_cp(row, total, length).to(device=kl.device, dtype=kl.dtype)
            for row, kl, total, length in places
        ]
        rollout_data["advantages"] = own
        rollout_data["returns"] = [row.clone() for row in own]

    async def _judge(self, sample: Sample) -> Judged:
        length = sample.response_length
        fields: dict[str, Any] = {"id": str(sample.index)}
        if self.reference:
            fields["reference"] = str(sample.label)
        if sample.status.value == "truncated":
            fields["truncated"] = True
        if not length:
            return failed("empty", "a sample without a response", fields["id"])
        return await self.rewards.judge(
            messages(sample.prompt),
            list(sample.tokens[-length:]),
            tokenizer=self._loaded(),
            policy=self.policy,
            **fields,
        )

    async def _outcome(self, sample: Sample) -> float:
        outcome = 0.0 if self.outcome is None else self.outcome(sample)
        return float(await outcome if inspect.isawaitable(outcome) else outcome)

    def _loaded(self) -> Any:
        if isinstance(self._tokenizer, str):
            from transformers import AutoTokenizer

            self._tokenizer = AutoTokenizer.from_pretrained(self._tokenizer)
        return self._tokenizer


def _said(sample: Sample) -> Judged:
    """What ``reward`` left in the sample."""
    record: Mapping[str, Any] | None = (sample.metadata or {}).get(KEY)
    if record is None:
        return failed("invalid", "nobody asked: is --custom-rm-path the plugin's reward?", str(sample.index))
    if record["failure"] is not None:
        return failed(record["failure"]["kind"], record["failure"]["detail"], record["failure"]["id"])
    if len(record["rewards"]) != sample.response_length:
        raise ValueError(
            f"sample {sample.index} was judged with {len(record['rewards'])} tokens and has {sample.response_length}: "
            "change samples before they are rewarded, not after"
        )
    return tuple(record["rewards"])


def _mask(sample: Sample) -> list[int]:
    return [1] * sample.response_length if sample.loss_mask is None else list(sample.loss_mask)


def _scale(args: Any) -> Scale:
    if not args.rewards_normalization:
        return "none"
    return "std" if args.grpo_std_normalization else "mean"
