"""TRL's supervised trainer, fed with exercises whose answers alone are learned.

Every exercise counts the same, however long its answer is: by the token, the one that names a step would drown among
those of whole solutions.
"""

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset, Features, Value
from datasets import Sequence as ListOf
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from ..finetuning.batching import padded
from ..finetuning.trainer import LengthGroupedTrainer
from .examples import Example

COLUMNS = Features({"ids": ListOf(Value("int32")), "start": Value("int32")})
NOT_LEARNED = -100


def as_dataset(examples: Sequence[Example]) -> Dataset:
    """The examples as TRL wants them, already tokenized."""
    columns = {"ids": [row.ids for row in examples], "start": [row.start for row in examples]}
    return Dataset.from_dict(columns, features=COLUMNS)


def collate(rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Right-padded ids ``[b, t]``, and the labels: those of answers and their end markers."""
    ids_bt = padded([row["ids"] for row in rows])
    labels_bt = torch.full_like(ids_bt, NOT_LEARNED)
    for labels_t, ids_t, row in zip(labels_bt, ids_bt, rows, strict=True):
        answer = slice(row["start"], len(row["ids"]))
        labels_t[answer] = ids_t[answer]
    return {"input_ids": ids_bt, "labels": labels_bt}


def answer_losses(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The mean cross-entropy (nats) of each row's answer ``[b]``, and which of its tokens were the likeliest ``[n]``.

    No attention mask: a causal model sees nothing of the padding to its right. Logits are made from the first answer's
    first token on alone.
    """
    ids_bt, labels_bt = batch["input_ids"], batch["labels"]
    first = int((labels_bt != NOT_LEARNED).any(0).nonzero()[0])
    kept = ids_bt.shape[1] - first + 1
    logits_btv = model(input_ids=ids_bt, logits_to_keep=kept, use_cache=False).logits[:, :-1]
    labels_bt = labels_bt[:, first:]
    learned_bt = labels_bt != NOT_LEARNED
    logits_nv, labels_n = logits_btv[learned_bt].float(), labels_bt[learned_bt]
    losses_n = functional.cross_entropy(logits_nv, labels_n, reduction="none")
    losses_bt = torch.zeros_like(learned_bt, dtype=losses_n.dtype).masked_scatter(learned_bt, losses_n)
    return losses_bt.sum(1) / learned_bt.sum(1), logits_nv.argmax(-1) == labels_n


class RewriterTrainer(LengthGroupedTrainer, SFTTrainer):
    """Learns answers, and every exercise as much as any other."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        examples: Sequence[Example],
        arguments: SFTConfig,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        lengths = [len(row.ids) for row in examples]
        super().__init__(model, tokenizer, as_dataset(examples), lengths, collate, arguments, optimizer)
        # The loss is a mean over rows: of accumulated batches it takes the mean again.
        self.model_accepts_loss_kwargs = False

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """The loss of one batch; notes how many tokens of answers are the likeliest ones."""
        losses_b, right_n = answer_losses(model, inputs)
        self._metrics["train"]["mean_token_accuracy"].append(right_n.float().mean().item())
        return losses_b.mean()

    def figures(self, logs: dict[str, float]) -> str:
        """How many tokens of answers are the likeliest ones."""
        return f"tokens right {logs['mean_token_accuracy']:.3f}"
