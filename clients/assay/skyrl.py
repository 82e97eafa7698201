"""Assay in SkyRL: a generator that asks for token rewards, and a trainer whose advantages are dense. Needs SkyRL 0.3.

    class Experiment(BasePPOExp):
        def get_generator(self, cfg, tokenizer, inference_engine_client):
            return DenseGenerator(..., rewards=TokenRewards(task="math-steps"), shaping=Shaping(weight=0.5))

        def get_trainer(self, *arguments, **named):
            return DenseTrainer(*arguments, **named)

SkyRL takes a reward per token, but its group estimators (``grpo``, ``rloo``, ``maxrl``) add them up to one number. So
the environment's rewards stay what they are, the estimator makes ``A_out`` of them, and the shaping is added to the
advantages afterwards: ``A[i][t] = A_out[i] + weight * S[i][t]`` (``assay.dense``). On its way it is an attribute of
each row of rewards, which SkyRL hands on as it is wherever it filters and joins batches.
"""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final

from skyrl.train.generators.skyrl_gym_generator import SkyRLGymGenerator
from skyrl.train.trainer import RayPPOTrainer

from .dense import Shaping, shape
from .policy import FailurePolicy
from .token_rewards import Judged, TokenRewards, failed, messages

_judging: Final[ContextVar[bool]] = ContextVar("assay_judging", default=True)


class ShapedRewards(list[float]):
    """The environment's rewards of one response, and ``weight * S`` beside them, both one per token.

    Nothing is to be learned from a response that is ``left_out``.
    """

    def __init__(self, rewards: Sequence[float], shaped: Sequence[float], *, left_out: bool) -> None:
        super().__init__(rewards)
        self.shaped = list(shaped)
        self.left_out = left_out

    def __reduce__(self) -> tuple[Any, ...]:
        return _shaped_rewards, (list(self), self.shaped, self.left_out)


class DenseGenerator(SkyRLGymGenerator):  # type: ignore[misc]
    """SkyRL's generator, which has each response judged as soon as it is there, while others are still being written.

    ``fields`` makes the fields of a rollout of a row's ``env_extras``, such as a ``reference``. ``policy``: what
    becomes of responses that could not be judged, and how long a step waits for them; by default they are masked out
    of the loss. Refused: ``generator.batched`` and ``step_wise_trajectories``, which have no whole responses to judge.
    Nothing is judged in evaluation.
    """

    def __init__(
        self,
        *arguments: Any,
        rewards: TokenRewards,
        shaping: Shaping,
        policy: FailurePolicy | None = None,
        fields: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda env_extras: {},
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        if self.batched or self.generator_cfg.step_wise_trajectories:
            raise ValueError("dense rewards need generator.batched=false and step_wise_trajectories=false")
        self.policy = policy or FailurePolicy()
        self._rewards, self._shaping, self._fields = rewards, shaping, fields
        self._judged: dict[int, Judged] = {}

    async def agent_loop(
        self, prompt: Any, env_class: str, env_extras: dict[str, Any], *arguments: Any, **named: Any
    ) -> Any:
        """One trajectory of SkyRL, and what the service says of its response."""
        output = await super().agent_loop(prompt, env_class, env_extras, *arguments, **named)
        if _judging.get():
            self._judged[id(output.response_ids)] = await self._judge(prompt, env_extras, output)
        return output

    async def generate(self, input_batch: Any, *arguments: Any, **named: Any) -> Any:
        """SkyRL's output for the batch, its rewards ``ShapedRewards``."""
        metadata = input_batch.get("batch_metadata")
        evaluating = getattr(metadata, "training_phase", "train") == "eval"
        before = _judging.set(not evaluating)
        try:
            output = await super().generate(input_batch, *arguments, **named)
        finally:
            _judging.reset(before)
        if evaluating:
            return output
        judged = [self._judged.pop(id(ids)) for ids in output["response_ids"]]
        settled = self.policy.settle(judged, step=getattr(metadata, "global_step", None))
        self.policy.report()
        rows = [tokens if isinstance(tokens, tuple) else None for tokens in settled]
        shaped = shape(rows, output["loss_masks"], self._groups(input_batch, len(rows)), self._shaping)
        for row, tokens in enumerate(settled):
            left_out = tokens is None and self.policy.on_failure == "skip"
            if left_out:
                output["loss_masks"][row] = [0] * len(output["loss_masks"][row])
            rewards = _by_token(output["rewards"][row], len(output["response_ids"][row]))
            output["rewards"][row] = ShapedRewards(rewards, shaped[row], left_out=left_out)
        missing = sum(row is None for row in rows)
        output["rollout_metrics"] = {
            **(output.get("rollout_metrics") or {}),
            "assay/failed": missing / len(rows),
        }
        return output

    async def _judge(self, prompt: Any, env_extras: Mapping[str, Any], output: Any) -> Judged:
        if not output.response_ids:
            return failed("empty", "a response without tokens")
        return await self._rewards.judge(
            messages(prompt),
            output.response_ids,
            tokenizer=self.tokenizer,
            policy=self.policy,
            mask=list(output.loss_mask),
            truncated=output.stop_reason == "length",
            **self._fields(env_extras),
        )

    def _groups(self, input_batch: Any, count: int) -> list[Any]:
        ids = input_batch.get("trajectory_ids")
        if ids is not None:
            return [one.instance_id for one in ids]
        return [row // self.generator_cfg.n_samples_per_prompt for row in range(count)]


class DenseAdvantages:
    """What makes a trainer of SkyRL dense: put it before the trainer among the bases, see ``DenseTrainer``."""

    _rows: Sequence[Any] = ()

    def convert_to_training_input(self, generator_output: Any, uids: list[str]) -> Any:
        """SkyRL's batch; the rows that it is made of are remembered until the advantages are."""
        self._rows = generator_output["rewards"]
        return super().convert_to_training_input(generator_output, uids)  # type: ignore[misc]

    def compute_advantages_and_returns(self, data: Any) -> Any:
        """``A_out`` of the configured estimator, as if failed responses were not there, and the shaping."""
        rows = [
            row if isinstance(row, ShapedRewards) else ShapedRewards(row, (), left_out=False)
            for row in self._rows
        ]
        uids, whole_mask = data.metadata["uids"], data["response_mask"]
        mask = whole_mask.clone()
        for place, row in enumerate(rows):
            if row.left_out:
                mask[place] = 0
        data.metadata["uids"] = [
            f"{uid} left out {place}" if place < len(rows) and rows[place].left_out else uid
            for place, uid in enumerate(uids)
        ]
        data["response_mask"] = mask
        data = super().compute_advantages_and_returns(data)  # type: ignore[misc]
        data.metadata["uids"], data["response_mask"] = uids, whole_mask
        advantages = data["advantages"].clone()
        for place, row in enumerate(rows):
            if row.left_out:
                advantages[place] = 0.0
            else:
                tokens = whole_mask[place].nonzero()[:, 0][: len(row.shaped)]
                advantages[place, tokens] += advantages.new_tensor(row.shaped[: len(tokens)])
        data["advantages"] = advantages
        self._rows = ()
        return data


class DenseTrainer(DenseAdvantages, RayPPOTrainer):  # type: ignore[misc]
    """SkyRL's trainer with dense advantages, for a ``DenseGenerator``."""


def _by_token(rewards: Any, tokens: int) -> list[float]:
    """One reward per token: a number counts for the last one, as it does in SkyRL."""
    return rewards if isinstance(rewards, list) else [*[0.0] * (tokens - 1), float(rewards)]


def _shaped_rewards(rewards: list[float], shaped: list[float], left_out: bool) -> ShapedRewards:
    return ShapedRewards(rewards, shaped, left_out=left_out)
