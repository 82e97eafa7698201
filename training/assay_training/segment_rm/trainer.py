"""TRL's reward trainer, with the Bradley-Terry loss over the mean reward of segments (papers.md 2.2)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Features, Value
from datasets import Sequence as ListOf
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from ..finetuning.batching import padded
from ..finetuning.trainer import LengthGroupedTrainer
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


class SegmentRewardTrainer(LengthGroupedTrainer, RewardTrainer):
    """Reads rewards at the ends of segments."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        examples: Sequence[Example],
        arguments: RewardConfig,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        lengths = [max(len(row.chosen.ids), len(row.rejected.ids)) for row in examples]
        super().__init__(model, tokenizer, as_dataset(examples), lengths, collate, arguments, optimizer)

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

    def figures(self, logs: dict[str, float]) -> str:
        """How many pairs are ranked right, and the mean margin."""
        return f"accuracy {logs['accuracy']:.3f} margin {logs['margin']:.3f}"
