"""Keeps pairs out of the training, and measures a reward model on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from ..finetuning.batching import TOKENS_AT_ONCE, batches_by_length
from ..finetuning.held_out import split_by
from .examples import Example
from .trainer import as_dataset, collate, margins


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Share of pairs ranked right and the mean margin, both None where no pair was held out."""

    accuracy: float | None
    pairs: int
    mean_margin: float | None


def split(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Examples to train on and about ``share`` of them to measure on; pairs of one prompt stay together."""
    return split_by(lambda example: example.problem, examples, share, seed)


@torch.inference_mode()
def measure(model: PreTrainedModel, examples: Sequence[Example]) -> HeldOut:
    """Rank the examples with a model."""
    model.train(mode=False)
    rows = as_dataset(examples)
    lengths = [2 * max(len(row.chosen.ids), len(row.rejected.ids)) for row in examples]
    found: list[float] = []
    for batch in batches_by_length(lengths, TOKENS_AT_ONCE):
        inputs = {name: part.to(model.device) for name, part in collate([rows[at] for at in batch]).items()}
        found += margins(model, inputs).tolist()
    if not found:
        return HeldOut(None, 0, None)
    return HeldOut(sum(margin > 0 for margin in found) / len(found), len(found), sum(found) / len(found))
