"""Assay in ms-swift: dense rewards for ``swift rlhf --rlhf_type grpo`` from a plugin. Needs ``ms-swift>=4.6,<5``.

    # plugin.py
    from assay.dense import Shaping
    from assay.swift import register
    from assay.token_rewards import TokenRewards

    register("math_steps", TokenRewards(task="math-steps"), shaping=Shaping(weight=0.5))

    swift rlhf --rlhf_type grpo --external_plugins plugin.py --reward_funcs accuracy math_steps ...

``accuracy``, or any other reward function, is the outcome; ``math_steps`` is a reward per token. Without an outcome
the advantage is the shaping alone. For a number per completion instead, leave ``shaping`` out.

ms-swift offers subclasses no stable surface. What is relied on: its factory looks the trainer up by name;
``_compute_rewards_per_func`` gives the rewards of all processes (N, functions); ``_postprocess_batch`` writes
advantages (B, T) into each mini-batch; a reward function gets the very ``rollout_infos`` of the samples.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from typing import Any, Final

from accelerate.utils import gather_object
from swift.rewards import orms
from swift.rewards.orm import AsyncORM
from swift.rl_core.advantage import compute_advantages_dynamic
from swift.rlhf_trainers.grpo_trainer import GRPOTrainer
from swift.rlhf_trainers.utils import get_even_process_data
from swift.trainers.trainer_factory import TrainerFactory

from .aggregation import AGGREGATIONS, Aggregation
from .dense import Shaping, shape
from .policy import FailurePolicy
from .rollouts import Prompt
from .token_rewards import Judged, TokenRewards, failed
from .token_rewards import messages as said_in
from .wire import Failed

log = logging.getLogger(__name__)


def register(
    name: str,
    rewards: TokenRewards,
    *,
    shaping: Shaping | None = None,
    aggregate: Aggregation = "sum",
    columns: Mapping[str, str] | None = None,
    policy: FailurePolicy | None = None,
) -> None:
    """Make ``rewards`` known to ``--reward_funcs`` as ``name``.

    With ``shaping`` they shape the advantage of each token, and their ``aggregate`` (one number a completion) is only
    logged; without, the aggregate is an ordinary reward. ``columns`` names columns of the data set by fields of a
    rollout, such as ``{"reference": "solution"}``. ``policy``: what becomes of rollouts that could not be judged, and
    how long a step waits for them; by default they are masked out, after 60 s.
    """
    settings = {
        "rewards": rewards,
        "shaping": shaping,
        "aggregate": AGGREGATIONS[aggregate],
        "columns": dict(columns or {}),
        "policy": policy or FailurePolicy(),
    }
    orms[name] = type(name, (AssayReward,), settings)
    TrainerFactory.TRAINER_MAPPING["grpo"] = f"{__name__}.{DenseGRPOTrainer.__name__}"


class AssayReward(AsyncORM):  # type: ignore[misc]
    """A reward function of ms-swift: asks the service for all completions of a process at once. See ``register``.

    Each turn of the assistant is a rollout of its own, with what was said before it as its prompt.
    """

    rewards: TokenRewards
    shaping: Shaping | None
    aggregate: Callable[[Sequence[float]], float]
    columns: Mapping[str, str]
    policy: FailurePolicy

    def __init__(self, args: Any = None, **named: Any) -> None:
        super().__init__(args, **named)
        self.tokenizer: Any = None  # the trainer brings it
        self.error: Exception | None = None

    @property
    def name(self) -> str:
        """What ``--reward_funcs`` calls it."""
        return type(self).__name__

    async def __call__(
        self,
        completions: Sequence[str],
        *,
        messages: Sequence[Sequence[Mapping[str, Any]]],
        response_token_ids: Sequence[Any],
        rollout_infos: Sequence[dict[str, Any]],
        is_truncated: Sequence[bool],
        trainer_state: Any = None,
        **columns: Sequence[Any],
    ) -> list[float | None]:
        """One number per completion, or None; token rewards go into ``rollout_infos``. See ``error``."""
        self.error = None
        judged = await asyncio.gather(
            *(
                self._judge(
                    str(index),
                    messages[index],
                    response_token_ids[index],
                    truncated=bool(is_truncated[index]),
                    **{field: columns[column][index] for field, column in self.columns.items()},
                )
                for index in range(len(completions))
            )
        )
        try:
            settled = self.policy.settle(judged, step=getattr(trainer_state, "global_step", None))
        except Exception as error:  # raised by the trainer, in all processes together
            self.error = error
            settled = (None,) * len(judged)
        numbers: list[float | None] = []
        for infos, tokens in zip(rollout_infos, settled, strict=True):
            infos[self._key] = tokens
            numbers.append(self.aggregate(tokens) if isinstance(tokens, tuple) and tokens else None)
        return numbers

    def tokens_of(self, sample: Any) -> tuple[float, ...] | None:
        """The token rewards of a sample's own tokens; None where it has none."""
        rewards: tuple[float, ...] | None = sample.rollout_infos.get(self._key)
        if rewards is None or not sample.response_loss_mask:
            return rewards
        return tuple(compress(rewards, [own for turn in sample.response_loss_mask for own in turn]))

    @property
    def _key(self) -> str:
        return f"assay/{self.name}"

    async def _judge(
        self,
        id: str,
        messages: Sequence[Mapping[str, Any]],
        token_ids: Sequence[Any],
        *,
        truncated: bool,
        **fields: Any,
    ) -> Judged:
        turns = own_turns(messages, token_ids)
        if turns is None:
            return failed(
                "unaligned", "the conversation has fewer turns of the assistant than were generated", id
            )
        judged = await asyncio.gather(
            *(
                self.rewards.judge(
                    prompt,
                    ids,
                    tokenizer=self.tokenizer,
                    policy=self.policy,
                    id=id,
                    truncated=truncated and number == len(turns),
                    **fields,
                )
                for number, (prompt, ids) in enumerate(turns, 1)
            )
        )
        rewards: list[float] = []
        for one in judged:
            if isinstance(one, Failed):
                return one
            rewards += one
        return tuple(rewards)


def own_turns(
    messages: Sequence[Mapping[str, Any]], token_ids: Sequence[Any]
) -> list[tuple[Prompt, list[int]]] | None:
    """What the policy generated, turn by turn: what was said before, and the turn's ids. None where turns lack.

    ``token_ids`` are those of one turn, or a list for each of the last turns of the assistant.
    """
    turns = [list(token_ids)] if not token_ids or isinstance(token_ids[0], int) else list(token_ids)
    places = [place for place, turn in enumerate(messages) if turn["role"] == "assistant"][-len(turns) :]
    if len(places) < len(turns):
        return None
    said = said_in(messages)
    return [(said[:place], ids) for place, ids in zip(places, turns, strict=True)]


class DenseGRPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """GRPO whose advantages have a value per token: ``A[i][t] = A_out[i] + sum of weight * S[i][t]`` (``assay.dense``).

    ``A_out`` is what ms-swift makes of the other reward functions, with all its options. Of a completion whose dense
    rewards failed nothing is learned (policy ``skip``): its tokens are masked, and the advantages of its group are
    those of the others alone, which ms-swift does not do by itself (to it None is 0.0). With ``scalar`` it keeps
    ``A_out``; with ``raise`` all processes end together.

    Refused with an error, because they have one advantage or one importance ratio a completion, or reward what is
    masked: ``importance_sampling_level`` sequence, ``loss_type`` real, the Liger loss, ``kl_in_reward``.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._assay = {
            column: function
            for column, function in enumerate(self.reward_funcs)
            if isinstance(function, AssayReward)
        }
        self._dense = {
            column: (one, one.shaping) for column, one in self._assay.items() if one.shaping is not None
        }
        if self._dense:
            self._refuse_sequence_losses()
        for column in self._dense:
            self.reward_weights[column] = 0.0

    def _compute_rewards_per_func(self, samples: Any) -> Any:
        """Rewards of all processes (N, functions); whole rows of NaN for rollouts that are to be left out."""
        for reward in self._assay.values():
            reward.tokenizer = self.template.tokenizer
        rewards = super()._compute_rewards_per_func(samples)
        self._raise_together()
        missing = rewards.isnan()
        outcomes = [column for column in range(rewards.size(1)) if column not in self._dense]
        needed = [
            column
            for column, reward in self._assay.items()
            if reward.policy.on_failure == "skip" or (column in self._dense and not outcomes)
        ]
        left_out = missing[:, needed].any(dim=1)
        if outcomes:
            left_out = left_out | missing[:, outcomes].all(dim=1)
        rewards[left_out] = float("nan")
        return rewards

    def _compute_advantages(self, samples: Any, rewards_per_func: Any, batch_encoded_inputs: Any) -> Any:
        """``A_out`` of all processes (N,): 0 for who is left out, and the others' as if they were not there."""
        advantages = super()._compute_advantages(samples, rewards_per_func, batch_encoded_inputs)
        left_out = self._left_out(rewards_per_func)
        if not left_out.any():
            return advantages
        kept = (~left_out).nonzero()[:, 0]
        groups = gather_object(self._groups(samples))
        advantages = advantages.masked_fill(left_out, 0.0)
        if (
            len(kept) and self.scale_rewards != "gdpo"
        ):  # gdpo takes each function's mean without NaN by itself
            advantages[kept], _ = compute_advantages_dynamic(
                rewards_per_func[kept],
                self.reward_weights,
                prompt_ids=[groups[row][0] for row in kept.tolist()],
                request_ids=[groups[row][1] for row in kept.tolist()],
                advantage_estimator=self.advantage_estimator,
                scale_rewards=self.scale_rewards,
            )
        return advantages

    def _postprocess_batch(self, samples: Any, batch_encoded_inputs: Any) -> None:
        """Ms-swift's mini-batches, their advantages (B, T) made dense."""
        super()._postprocess_batch(samples, batch_encoded_inputs)
        if not self._assay:
            return
        left_out = get_even_process_data(self, self._left_out(self._rewards_per_func).tolist())
        for sample, out in zip(samples, left_out, strict=True):
            sample.rollout_infos[_LEFT_OUT] = out
            sample.rollout_infos[_SHAPED] = []
        for reward, shaping in self._dense.values():
            for sample, row in zip(samples, self._shaped(reward, shaping, samples), strict=True):
                sample.rollout_infos[_SHAPED].append(row)
        self._log_failures(samples)
        # Split again as ms-swift has: with sequence parallelism the samples of others are among them.
        for chunk, batch in zip(self.split_by_mini_batches(samples), batch_encoded_inputs, strict=True):
            for place, sample in enumerate(chunk):
                self._write(batch, place, sample)

    def _write(self, batch: Mapping[str, Any], row: int, sample: Any) -> None:
        grpo_batch = batch["grpo_batch"]
        own = grpo_batch.completion_mask[row]
        if sample.rollout_infos[_LEFT_OUT]:
            grpo_batch.advantages[row] = 0.0
            grpo_batch.completion_mask[row] = 0
            return
        places = own.nonzero()[:, 0]
        for shaped in sample.rollout_infos[_SHAPED]:
            if shaped:
                _same_tokens(batch["model_inputs"], row, own, sample)
                tokens = grpo_batch.advantages.new_tensor(shaped[: len(places)])
                grpo_batch.advantages[row, places[: len(tokens)]] += tokens

    def _shaped(self, reward: AssayReward, shaping: Shaping, samples: Any) -> list[list[float]]:
        """``weight * S`` of this process's samples, one number per own token."""
        rows = [None if sample.rollout_infos[_LEFT_OUT] else reward.tokens_of(sample) for sample in samples]
        groups = [group for group, _ in self._groups(samples)]
        first, size = 0, len(rows)
        if shaping.baseline != "none":  # a group may lie on several processes
            sizes = gather_object([size])
            first = sum(sizes[: self.accelerator.process_index])
            rows, groups = gather_object(rows), gather_object(groups)
        masks = [[1] * len(row or ()) for row in rows]
        shaped = shape(rows, masks, groups, shaping)[first : first + size]
        tokens = [abs(token) for row in shaped for token in row]
        self._metrics[self._mode][f"{reward.name}/shaping"].append(sum(tokens) / max(1, len(tokens)))
        return shaped

    def _groups(self, samples: Any) -> list[tuple[Any, str]]:
        """The group of each sample of this process, and the request it belongs to."""
        if self.dynamic_num_samples:
            return [(sample.prompt_id, sample.request_id) for sample in samples]
        training = self._mode == "train"
        size = self.num_generations if training else self.num_generations_eval
        first = self.accelerator.process_index * len(samples)
        return [(index // size, str(index)) for index in range(first, first + len(samples))]

    @property
    def _mode(self) -> str:
        return "train" if self.model.training else "eval"

    def _left_out(self, rewards_per_func: Any) -> Any:
        """Which rollouts nothing is learned from (N,)."""
        return (
            rewards_per_func.isnan().all(dim=1)
            if rewards_per_func.size(1)
            else rewards_per_func.new_zeros(len(rewards_per_func), dtype=bool)
        )

    def _log_failures(self, samples: Any) -> None:
        for reward in self._assay.values():
            missing = sum(reward.tokens_of(sample) is None for sample in samples)
            self._metrics[self._mode][f"{reward.name}/failed"].append(missing / len(samples))
            reward.policy.report()

    def _raise_together(self) -> None:
        """Where the call of one process has raised, end all: the others would wait for it for ever."""
        errors = [reward.error for reward in self._assay.values() if reward.error is not None]
        raised = gather_object([bool(errors)]) if self._assay else []
        if errors:
            raise errors[0]
        if any(raised):
            processes = [index for index, flag in enumerate(raised) if flag]
            raise RuntimeError(f"the dense rewards of the processes {processes} raised: see their logs")

    def _refuse_sequence_losses(self) -> None:
        why = "dense advantages need a loss and importance ratios by token"
        if self.importance_sampling_level == "sequence":
            raise ValueError(f"{why}: set --importance_sampling_level token")
        if self.loss_type == "real" or self.use_liger_loss:
            raise ValueError(f"{why}: not --loss_type real, nor the Liger loss")
        if self.kl_in_reward:
            raise ValueError(
                "dense advantages leave failed rollouts out of their group: not with --kl_in_reward true"
            )


_LEFT_OUT: Final = "assay/left_out"
_SHAPED: Final = "assay/shaped"


def _same_tokens(model_inputs: Mapping[str, Any], row: int, own: Any, sample: Any) -> None:
    """Raise where the tokens that are trained are not those that were judged."""
    ids = model_inputs["input_ids"]
    if len(ids) <= row or ids.size(1) < len(own):  # rows packed one after the other (padding_free)
        return
    trained = ids[row, -len(own) :][own.bool()].tolist()
    turns = sample.response_token_ids
    judged = list(turns) if isinstance(turns[0], int) else [token for turn in turns for token in turn]
    if sample.response_loss_mask:
        judged = list(compress(judged, [one for turn in sample.response_loss_mask for one in turn]))
    shared = min(len(trained), len(judged))
    if trained[:shared] != judged[:shared]:
        raise ValueError("ms-swift trains on other tokens than it generated: their rewards do not fit")
