"""Watches where one token of each row looked, without the attention of all the others.

``output_attentions`` keeps ``heads x T x T`` numbers a layer; this keeps ``T`` a row. The model runs scaled dot
product attention as ever, and beside it the softmax of the one query that is asked for; of the layers, the last one
to run has the last word.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

WATCHED: Final = "assay_watched"
UNREAD: Final = ("softcap", "position_bias", "s_aux")
"""Terms that some models add to their attention, and that are not read here."""


@dataclass(slots=True)
class Watch:
    """What to look for, and what was seen.

    ``places_b`` is the watched place of each row, ``weights_bt`` its attention in the layer that ran last, the mean
    over the heads; None while no layer has run.
    """

    places_b: Tensor
    weights_bt: Tensor | None = None


_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watching(places_b: Tensor) -> Iterator[Watch]:
    """Watch one place of each row during the forward passes inside the block."""
    watch = Watch(places_b)
    token = _watch.set(watch)
    try:
        yield watch
    finally:
        _watch.reset(token)


def make_watchable(model: PreTrainedModel) -> bool:
    """Let ``watching`` see the attention of ``model``; False where it does not run scaled dot product attention."""
    if model.config._attn_implementation != "sdpa":
        return False
    AttentionInterface.register(WATCHED, _attend)
    AttentionMaskInterface.register(WATCHED, sdpa_mask)
    model.set_attn_implementation(WATCHED)
    return True


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    watch = _watch.get()
    if watch is not None:
        readable = all(options.get(term) is None for term in UNREAD)
        watch.weights_bt = _weights(watch, query, key, attention_mask, options) if readable else None
    output: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    return output


def _weights(
    watch: Watch, query_bhtd: Tensor, key_bktd: Tensor, mask_bhtt: Tensor | None, options: dict[str, Any]
) -> Tensor:
    """Softmax of the watched queries over all keys, ``[rows, T]``; several heads may share one key head."""
    rows, key_heads, tokens, width = key_bktd.shape
    row_b = torch.arange(rows, device=key_bktd.device)
    query_bkgd = query_bhtd[row_b, :, watch.places_b].view(rows, key_heads, -1, width)
    scaling = options.get("scaling") or width**-0.5
    scores_bht = (
        torch.einsum("bkgd,bktd->bkgt", query_bkgd, key_bktd).reshape(rows, -1, tokens).float() * scaling
    )
    if mask_bhtt is None:
        column_t = torch.arange(tokens, device=key_bktd.device)
        scores_bht = scores_bht.masked_fill(column_t > watch.places_b[:, None, None], -torch.inf)
    else:
        mask_bht = mask_bhtt.expand(rows, -1, -1, -1)[row_b, :, watch.places_b]
        seen = mask_bht if mask_bht.dtype == torch.bool else None
        scores_bht = scores_bht + mask_bht if seen is None else scores_bht.masked_fill(~seen, -torch.inf)
    weights_bt: Tensor = scores_bht.softmax(-1).mean(1)
    return weights_bt
