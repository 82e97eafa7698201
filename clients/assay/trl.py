"""Assay in TRL: a reward for ``GRPOTrainer``, and a GRPO trainer whose advantages are dense. Needs ``trl>=1.16,<2``.

    critic = AssayReward(task="math-steps", tokenizer=tokenizer)

    GRPOTrainer(model, reward_funcs=[critic], ...)                              # a number per completion
    DenseGRPOTrainer(model, reward_funcs=[right_answer],                        # and one per token
                     dense=[(critic, Shaping(weight=0.5))], ...)

TRL offers subclasses no stable surface. What is relied on: ``_calculate_rewards`` gets a process's completions in the
order of the batch and gives the rewards of all processes; ``_generate_and_score_completions`` runs before the batch is
shuffled and split; the losses take advantages of shape (B, T).
"""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Literal

from .aggregation import AGGREGATIONS, Aggregation
from .dense import Shaping, shape
from .policy import FailurePolicy, OnFailure
from .token_rewards import Judged, Rewards, SequenceRewards, TokenRewards, messages
from .wire import Failed

_NEEDED: Final = "trl>=1.16,<2"


def _require_trl() -> None:
    """Say what to install where TRL is not there or is one that this is not written against."""
    try:
        found = version("trl")
    except PackageNotFoundError as error:
        raise ImportError(f'assay.trl needs TRL: pip install "{_NEEDED}"') from error
    major, minor = (int(part) for part in found.split(".")[:2])
    if not (1, 16) <= (major, minor) < (2, 0):
        raise ImportError(f'assay.trl is written against {_NEEDED}, this is {found}: pip install "{_NEEDED}"')


_require_trl()

from accelerate.utils import gather_object  # noqa: E402 - the version comes first
from trl.trainer.grpo_config import GRPOConfig  # noqa: E402
from trl.trainer.grpo_trainer import GRPOTrainer  # noqa: E402

Route = Literal["token", "segment", "sequence"]
_SEQUENCE_LOSSES: Final = frozenset({"luspo", "vespo"})


class AssayReward:
    """A reward function of TRL: asks the service for all completions of a batch at once.

    ``tokenizer`` is the policy's. Given as ``{"name", "revision"}`` (a hub name, or a folder on the service's host) the
    service loads it and token ids are sent. Given as the tokenizer itself, the text and each token's place in it are
    sent, and the service needs no tokenizer.

    ``aggregate`` makes one number of a completion's token rewards; with ``route="sequence"`` there is only one.
    ``columns`` names columns of the data set by fields of a rollout, such as ``{"reference": "solution"}``.
    ``url``: None is ``ASSAY_URL``, or the usual one. ``deadline_s`` bounds a step's call, retries included. A rollout
    that could not be judged gets None, which TRL leaves out of its group (other reward functions of that rollout still
    count), and is logged once a step: as a warning, and as the metric ``<name>/failed`` (the share). ``on_failure`` is
    that of ``assay.policy.FailurePolicy``, which also says when a mistake in the set-up raises. The other arguments are
    those of ``assay.token_rewards.Rewards``.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        tokenizer: Any,
        route: Route = "token",
        task: str | None = None,
        method: str | None = None,
        mode: str | None = None,
        options: Mapping[str, Any] | None = None,
        columns: Mapping[str, str] | None = None,
        aggregate: Aggregation = "sum",
        deadline_s: float = 60.0,
        on_failure: OnFailure = "skip",
        name: str | None = None,
    ) -> None:
        named = tokenizer if isinstance(tokenizer, Mapping) and "name" in tokenizer else None
        said: dict[str, Any] = {
            "url": url,
            "task": task,
            "method": method,
            "mode": mode,
            "options": options or {},
            "tokenizer": named,
        }
        self.rewards: Rewards = (
            SequenceRewards(**said) if route == "sequence" else TokenRewards(route=route, **said)
        )
        self.policy = FailurePolicy(on_failure, timeout_s=deadline_s)
        self.__name__ = name or f"assay/{task or method or route}"
        self._aggregate = AGGREGATIONS[aggregate]
        self._columns = columns or {}
        self._tokenizer: Any = None
        self._markers: frozenset[int] = frozenset()
        if named is None:
            self._tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # of a processor
            self._markers = frozenset(self._tokenizer.all_special_ids)

    async def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[list[int]],
        **more: Any,
    ) -> list[float | None]:
        """One number per completion, or None."""
        return self.scalars(await self.judge(prompts, completion_ids, more))

    async def judge(
        self, prompts: Sequence[Any], completion_ids: Sequence[list[int]], more: Mapping[str, Any]
    ) -> list[Judged]:
        """The rewards of each completion, one per id, in order; or why it has none.

        ``more`` is what TRL passes besides: columns of the data set, ``trainer_state`` and ``log_metric``. Raises
        ``RolloutFailed`` where the policy says so.
        """
        fields = [
            {
                "id": str(index),
                **self._marked(ids),
                **{field: more[column][index] for field, column in self._columns.items()},
            }
            for index, ids in enumerate(completion_ids)
        ]
        began_s = time.monotonic()
        judged = await self.rewards.judge_batch(
            [messages(prompt) for prompt in prompts],
            completion_ids,
            tokenizer=self._tokenizer,
            policy=self.policy,
            fields=fields,
        )
        log_metric: Callable[[str, float], None] | None = more.get("log_metric")
        if log_metric is not None:
            failed = sum(isinstance(one, Failed) for one in judged)
            log_metric(f"{self.__name__}/failed", failed / len(judged))
            log_metric(f"{self.__name__}/call_s", time.monotonic() - began_s)
        self.policy.settle(judged, step=getattr(more.get("trainer_state"), "global_step", None))
        self.policy.report()  # a step's rewards are asked for once: nothing is gained by waiting for the next
        return judged

    def scalars(self, judged: Sequence[Judged]) -> list[float | None]:
        """Each completion's rewards as one number; None where there are none."""
        return [None if isinstance(one, Failed) or not one else float(self._aggregate(one)) for one in judged]

    def _marked(self, ids: Sequence[int]) -> dict[str, Any]:
        """What the text alone does not say: that it was cut off, and which tokens are markers and not words."""
        tokenizer = self._tokenizer
        if tokenizer is None:
            return {}
        ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
        return {
            "truncated": not ids or ids[-1] not in ends,
            "mask": [int(one not in self._markers) for one in ids],
        }


class _DenseReward:
    """One dense reward in the row of TRL's reward functions: keeps what the last batch was judged to be."""

    def __init__(self, reward: AssayReward, shaping: Shaping) -> None:
        if reward.rewards.route == "sequence":
            raise ValueError("route sequence has one reward a completion: give it in reward_funcs")
        self.reward, self.shaping = reward, shaping
        self.__name__ = reward.__name__
        self.judged: list[Judged] = []
        self.error: Exception | None = None

    async def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[list[int]],
        **more: Any,
    ) -> list[float | None]:
        """What TRL logs. An error waits until all processes can end together."""
        self.error, self.judged = None, []
        try:
            self.judged = await self.reward.judge(prompts, completion_ids, more)
        except Exception as error:  # raised again by DenseGRPOTrainer
            self.error = error
            return [None] * len(prompts)
        return self.reward.scalars(self.judged)


class DenseGRPOTrainer(GRPOTrainer):
    """GRPO whose advantages have a value per token: ``A[i][t] = A_out[i] + sum of weight * S[i][t]`` (``assay.dense``).

    ``A_out`` is what TRL makes of ``reward_funcs``, with all its options. ``dense`` are pairs of an ``AssayReward``
    and how it shapes; ``reward_funcs`` may be missing, then ``A_out`` is 0. Dense rewards are asked for once a
    generation batch, at the same time as other asynchronous reward functions. The aggregate of each is logged like a
    reward and has no weight in ``A_out``.

    Of a completion whose dense rewards failed nothing is learned (``on_failure="skip"``): it is masked out and its
    group's means are those of the others; with ``"scalar"`` it keeps ``A_out`` alone; with ``"raise"`` all processes
    end together. Tokens outside TRL's loss mask (padding, tool output, truncated completions with
    ``mask_truncated_completions``) are not shaped and move no baseline.

    Refused with an error: losses and importance ratios of whole sequences, for which an advantage per token has no
    meaning (``importance_sampling_level="sequence"``, ``luspo``, ``vespo``, GMPO, RLOO).
    """

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = None,
        args: GRPOConfig | None = None,
        *,
        dense: Sequence[tuple[AssayReward, Shaping]],
        **named: Any,
    ) -> None:
        _refuse_sequence_losses(type(self), args)
        own: list[Any] = [] if reward_funcs is None else [reward_funcs]
        if isinstance(reward_funcs, list):
            own = reward_funcs
        self._dense = [_DenseReward(reward, shaping) for reward, shaping in dense]
        self._dense_columns = slice(len(own), len(own) + len(self._dense))
        if args is not None and (weights := args.reward_weights) is not None:
            args = copy.copy(args)
            args.reward_weights = [*weights, *[0.0] * len(self._dense)]
        if isinstance(processing := named.get("reward_processing_classes"), list):
            named["reward_processing_classes"] = [*processing, *[None] * len(self._dense)]
        functions: list[Any] = [*own, *self._dense]
        super().__init__(model, functions, args, **named)
        self.reward_weights[self._dense_columns] = 0.0
        self._learned: list[bool] = []

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> Any:
        """TRL's rewards of all processes (N, functions); NaN where a rollout is to be left out of its group."""
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._raise_together(rewards)
        missing = rewards.isnan()
        columns = list(range(rewards.size(1)))
        dense = columns[self._dense_columns]
        outcomes = [column for column in columns if column not in dense]
        needed = [
            column
            for column, source in zip(dense, self._dense, strict=True)
            if source.reward.policy.on_failure == "skip" or not outcomes
        ]
        left_out = missing[:, needed].any(dim=1)
        if outcomes:  # the aggregates of dense rewards are no outcome: their weight is 0
            left_out = left_out | missing[:, outcomes].all(dim=1)
        rewards[left_out] = float("nan")
        first = self.accelerator.process_index * len(prompts)
        self._learned = [not out for out in left_out[first : first + len(prompts)].tolist()]
        return rewards

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        """TRL's batch, its advantages made (B, T)."""
        batch = super()._generate_and_score_completions(inputs)
        mask_bt = batch["completion_mask"]
        if "tool_mask" in batch:
            mask_bt = mask_bt * batch["tool_mask"]
        advantages_bt = batch["advantages"].unsqueeze(1) * mask_bt
        for source in self._dense:
            advantages_bt = advantages_bt + advantages_bt.new_tensor(self._shaped(source, mask_bt))
        batch["advantages"] = advantages_bt
        return batch

    def _shaped(self, source: _DenseReward, mask_bt: Any) -> list[list[float]]:
        """``weight * S`` of this process's completions, padded with zeros to (B, T)."""
        rewards = [
            None if isinstance(judged, Failed) or not learned else judged
            for judged, learned in zip(source.judged, self._learned, strict=True)
        ]
        masks = [own[: len(row or ())] for own, row in zip(mask_bt.tolist(), rewards, strict=True)]
        first, size = 0, len(rewards)
        if source.shaping.baseline != "none":  # a group may lie on several processes
            first = self.accelerator.process_index * size
            rewards, masks = gather_object(rewards), gather_object(masks)
        training = self.model is not None and self.model.training
        of_one_prompt: Any = self.num_generations if training else self.num_generations_eval
        groups = [index // of_one_prompt for index in range(len(rewards))]
        shaped = shape(rewards, masks, groups, source.shaping)[first : first + size]
        self._log_shaping(source, "train" if training else "eval", shaped)
        return [[*row, *[0.0] * (mask_bt.size(1) - len(row))] for row in shaped]

    def _log_shaping(self, source: _DenseReward, mode: str, shaped: Sequence[Sequence[float]]) -> None:
        """How much a dense reward moves the advantage of a token, in the mean over the tokens of all processes."""
        moved = sum(abs(token) for row in shaped for token in row)
        totals = gather_object([(moved, sum(map(len, shaped)))])
        mean = sum(total for total, _ in totals) / max(1, sum(count for _, count in totals))
        self._metrics[mode][f"{source.__name__}/shaping"].append(mean)

    def _raise_together(self, rewards: Any) -> None:
        """Where the call of one process has raised, end all: the others would wait for it for ever."""
        error = next((source.error for source in self._dense if source.error is not None), None)
        raised = self.accelerator.gather(rewards.new_tensor([float(error is not None)])).tolist()
        if error is not None:
            raise error
        if any(raised):
            processes = [index for index, flag in enumerate(raised) if flag]
            raise RuntimeError(f"the dense rewards of the processes {processes} raised: see their logs")


def _refuse_sequence_losses(trainer: type[GRPOTrainer], args: GRPOConfig | None) -> None:
    """Refuse what has one advantage, or one importance ratio, a completion."""
    why = "dense advantages need GRPOTrainer's own loss with importance ratios by token"
    if trainer._compute_loss is not GRPOTrainer._compute_loss:
        raise TypeError(f"{why}: {trainer.__name__} brings another (GMPO and RLOO weigh whole completions)")
    if args is None:
        return
    kind = type(args)
    if not isinstance(args, GRPOConfig) or kind.__module__.startswith("trl.experimental"):
        raise TypeError(f"{why}: give a GRPOConfig, not a {kind.__name__}")
    if args.importance_sampling_level != "token":
        raise ValueError(f'{why}: set importance_sampling_level="token"')
    if args.loss_type in _SEQUENCE_LOSSES:
        raise ValueError(
            f"{why}: loss_type {args.loss_type!r} weighs whole completions; grpo, dapo, ... do not"
        )
