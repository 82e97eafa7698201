"""Weighs completions with a frozen language model: the entropy of the distribution behind each of their tokens.

Rows are right-padded and no attention mask is given: the model is causal, so nothing to the right of a token matters.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from ..finetuning.batching import TOKENS_AT_ONCE, batches_by_length, padded
from ..finetuning.models import language_head

Row = tuple[NDArray[np.int32], int]
"""The ids of prompt and completion, and how many of them are the prompt's."""

LOGITS_AT_ONCE = 16_000_000
ROWS_A_SHARD = 4096


def weigh_rows(model: PreTrainedModel, rows: Sequence[Row], cache: Path) -> list[NDArray[np.float32]]:
    """Entropies (nats) behind each token of each row's completion.

    What is weighed is kept in the folder ``cache``, a shard of rows at a time, and is not weighed again.
    """
    cache.mkdir(parents=True, exist_ok=True)
    entropies: list[NDArray[np.float32]] = []
    for start in range(0, len(rows), ROWS_A_SHARD):
        shard = rows[start : start + ROWS_A_SHARD]
        entropies += _shard(model, shard, cache / f"{start:09d}.npy")
        print(f"entropies of {start + len(shard)}/{len(rows)} completions", flush=True)
    return entropies


def _shard(model: PreTrainedModel, rows: Sequence[Row], path: Path) -> list[NDArray[np.float32]]:
    lengths = [len(ids) - start for ids, start in rows]
    if path.is_file():
        flat = np.load(path)
    else:
        flat = np.concatenate(_weighed(model, rows))
        unfinished = path.with_suffix(".tmp.npy")
        np.save(unfinished, flat)
        unfinished.replace(path)
    return np.split(flat, np.cumsum(lengths)[:-1])


@torch.inference_mode()
def _weighed(model: PreTrainedModel, rows: Sequence[Row]) -> list[NDArray[np.float32]]:
    entropies: dict[int, NDArray[np.float32]] = {}
    head = language_head(model)
    for batch in batches_by_length([len(ids) for ids, _ in rows], TOKENS_AT_ONCE):
        ids_bt = padded([rows[index][0] for index in batch]).to(model.device)
        hidden_btd = model.base_model(input_ids=ids_bt, use_cache=False).last_hidden_state
        for hidden_td, index in zip(hidden_btd, batch, strict=True):
            ids, start = rows[index]
            entropies[index] = entropies_of(head, hidden_td[start : len(ids)]).cpu().numpy()
    return [entropies[index] for index in range(len(rows))]


def entropies_of(head: torch.nn.Module, hidden_td: Tensor) -> Tensor:
    """Entropies (nats) of the distributions that ``head`` makes of hidden states, in chunks of tokens.

    It holds a few float32 copies of ``LOGITS_AT_ONCE`` logits (or one token's, where those are more) and no more.
    """
    vocabulary = cast(Tensor, head.weight).shape[0]
    chunks = torch.split(hidden_td, max(1, LOGITS_AT_ONCE // vocabulary))
    return torch.cat([torch.special.entr(head(chunk).float().softmax(-1)).sum(-1) for chunk in chunks])
