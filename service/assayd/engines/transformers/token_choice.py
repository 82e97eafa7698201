"""Chooses the next token of every row of a batch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...domain.ports import Sampling


def pick(logits_bv: Tensor, samplings: Sequence[Sampling], uniforms: Sequence[float]) -> Tensor:
    """One token id per row: the likeliest at temperature 0, else a draw by ``uniforms[row]`` in [0, 1).

    ``logits_bv`` are float32. Each row depends on its own logits, sampling and uniform alone.
    """
    likeliest_b = logits_bv.argmax(-1)
    drawn = [row for row, sampling in enumerate(samplings) if sampling.temperature > 0]
    if drawn:
        rows_n = torch.tensor(drawn, device=logits_bv.device)
        likeliest_b[rows_n] = _draw(
            logits_bv[rows_n],
            _column(logits_bv, [samplings[row].temperature for row in drawn]),
            _column(logits_bv, [samplings[row].top_p for row in drawn]),
            _column(logits_bv, [uniforms[row] for row in drawn]),
        )
    return likeliest_b


def _draw(logits_nv: Tensor, temperature_n1: Tensor, top_p_n1: Tensor, uniform_n1: Tensor) -> Tensor:
    probabilities_nv = (logits_nv.double() / temperature_n1).softmax(-1)
    descending_nv, order_nv = probabilities_nv.sort(dim=-1, descending=True, stable=True)
    # The nucleus: the fewest of the likeliest tokens that together reach top_p, and at least one.
    outside_nv = descending_nv.cumsum(-1) - descending_nv >= top_p_n1
    outside_nv[:, 0] = False
    probabilities_nv = probabilities_nv.masked_fill(outside_nv.scatter(-1, order_nv, outside_nv), 0.0)
    # In the order of the vocabulary, not of the sort: a rounding error that swaps two tokens changes nothing.
    cumulative_nv = probabilities_nv.cumsum(-1)
    return torch.searchsorted(cumulative_nv, uniform_n1 * cumulative_nv[:, -1:], right=True)[:, 0]


def _column(logits_bv: Tensor, values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=logits_bv.device)[:, None]
