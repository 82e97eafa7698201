"""TRL's reward trainer, with the Bradley-Terry loss over the mean reward of segments (papers.md 2.2)."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Features, Value
from datasets import Sequence as ListOf
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Sampler
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_callback import PrinterCallback
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from .batching import LengthGroupedSampler, padded
from .examples import Example

COLUMNS = Features(
    {name: ListOf(Value("int32")) for name in ("chosen_ids", "chosen_ends", "rejected_ids", "rejected_ends")}
)


def as_dataset(examples: Sequence[Example]) -> Dataset:
    """The examples as TRL wants them, already tokenized."""
    sides = {"chosen": [row.chosen for row in examples], "rejected": [row.rejected for row in examples]}
    columns = {
        f"{name}_{part}": [getattr(side, part) for side in rows]
        for name, rows in sides.items()
        for part in ("ids", "ends")
    }
    return Dataset.from_dict(columns, features=COLUMNS)


def collate(rows: Sequence[dict[str, list[int]]]) -> dict[str, Tensor]:
    """Ids ``[2b, t]``, the chosen ones first, and what each place counts in the mean over its row's segment ends."""
    sides = [(row[f"{name}_ids"], row[f"{name}_ends"]) for name in ("chosen", "rejected") for row in rows]
    ids_bt = padded([ids for ids, _ in sides])
    shares_bt = np.zeros(ids_bt.shape, np.float32)
    for shares_t, (_, ends) in zip(shares_bt, sides, strict=True):
        shares_t[ends] = 1 / len(ends)
    return {"input_ids": ids_bt, "shares_bt": torch.from_numpy(shares_bt)}


def margins(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """``f(chosen) - f(rejected)`` of each pair in a collated batch; f is the mean of a row's segment rewards.

    No attention mask: a causal model sees nothing of the padding to its right.
    """
    values_bt = model(input_ids=batch["input_ids"], use_cache=False).logits[..., 0].float()
    scores_b: Tensor = (values_bt * batch["shares_bt"]).sum(1)
    chosen_b, rejected_b = scores_b.chunk(2)
    return chosen_b - rejected_b


def bradley_terry(margins_b: Tensor) -> Tensor:
    """``-log sigmoid`` of the margins, on average."""
    return -functional.logsigmoid(margins_b).mean()


class SegmentRewardTrainer(RewardTrainer):
    """Reads rewards at the ends of segments, in batches of rows of nearly one length."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        examples: Sequence[Example],
        arguments: RewardConfig,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self._lengths = [max(len(row.chosen.ids), len(row.rejected.ids)) for row in examples]
        super().__init__(
            model=model,
            args=arguments,
            data_collator=collate,
            train_dataset=as_dataset(examples),
            processing_class=tokenizer,
            optimizers=(optimizer, None),
        )
        self.remove_callback(PrinterCallback)
        self._started = time.monotonic()
        self._spent_s: float | None = None

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """The loss of one batch; notes how many pairs are ranked right, and the mean margin."""
        margins_b = margins(model, inputs)
        seen_b = margins_b.detach()
        self._metrics["train"]["accuracy"].append((seen_b > 0).float().mean().item())
        self._metrics["train"]["margin"].append(seen_b.mean().item())
        return bradley_terry(margins_b)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Print a line of progress, and keep in the checkpoints for how long was trained."""
        if "loss" in logs:
            logs["training_time_s"] = self.training_time_s
        super().log(logs, start_time)
        if "loss" in logs:
            print(
                f"step {self.state.global_step}/{self.state.max_steps} loss {logs['loss']:.4f} "
                f"accuracy {logs['accuracy']:.3f} margin {logs['margin']:.3f} "
                f"rate {logs['learning_rate']:.2e} {self.training_time_s:.0f} s",
                flush=True,
            )

    @property
    def training_time_s(self) -> float:
        """Seconds trained, those before a resume included as far as they were logged."""
        if self._spent_s is None:
            self._spent_s = max(
                (entry.get("training_time_s", 0.0) for entry in self.state.log_history), default=0.0
            )
        return self._spent_s + time.monotonic() - self._started

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None of TRL's: ours is written at the end."""

    def _send_telemetry(self) -> None:
        """Nothing is sent to anyone."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return LengthGroupedSampler(self._lengths, self.args.train_batch_size, self.args.seed)
