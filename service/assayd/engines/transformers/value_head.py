"""A value head: one learned query attends to the frozen states of a prompt, and what it sees becomes one number.

As in the A-LoL paper (papers.md 4.2): multi-head attention, a linear layer, ``max_value`` times a sigmoid. Unlike its
released code, keys of padding are masked and there is no dropout where the head is used: the value of a prompt does not
depend on its neighbours or on chance.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..model_files import CARD, read_card

FORMAT: Final = "assay-value-head/1"
WEIGHTS: Final = "value_head.safetensors"
SHAPES: Final[Mapping[str, tuple[str, ...]]] = {
    "query": ("d",),
    "attention.in_proj_weight": ("3d", "d"),
    "attention.in_proj_bias": ("3d",),
    "attention.out_proj.weight": ("d", "d"),
    "attention.out_proj.bias": ("d",),
    "score.weight": ("1", "d"),
    "score.bias": ("1",),
}
"""The tensors of a head over states of width d; those of ``attention`` as PyTorch's ``MultiheadAttention`` has them."""


@dataclass(frozen=True, slots=True)
class ValueHead:
    """The head in float32. ``heads`` is the number of attention heads."""

    tensors: Mapping[str, Tensor]
    heads: int
    max_value: float

    def __call__(self, hidden_btd: Tensor, lengths_b: Tensor) -> Tensor:
        """The values ``[b]`` of prompts whose states stand on the left of each row; what is behind them is padding."""
        hidden_btd = hidden_btd.float()
        rows, places, width = hidden_btd.shape
        weights_3dd = torch.split(self.tensors["attention.in_proj_weight"], width)
        biases_3d = torch.split(self.tensors["attention.in_proj_bias"], width)
        query_hc = (self.tensors["query"] @ weights_3dd[0].T + biases_3d[0]).view(self.heads, -1)
        keys_bthc, values_bthc = (
            (hidden_btd @ weight_dd.T + bias_d).view(rows, places, self.heads, -1)
            for weight_dd, bias_d in zip(weights_3dd[1:], biases_3d[1:], strict=True)
        )
        looks_bth = torch.einsum("hc,bthc->bth", query_hc, keys_bthc) / query_hc.shape[-1] ** 0.5
        padding_bt = torch.arange(places, device=lengths_b.device) >= lengths_b[:, None]
        shares_bth = looks_bth.masked_fill(padding_bt[..., None], -torch.inf).softmax(1)
        # A share of exactly 0 times a state that is not finite would not be 0.
        values_bthc = values_bthc.masked_fill(padding_bt[..., None, None], 0.0)
        seen_bd = torch.einsum("bth,bthc->bhc", shares_bth, values_bthc).reshape(rows, width)
        seen_bd = (
            seen_bd @ self.tensors["attention.out_proj.weight"].T + self.tensors["attention.out_proj.bias"]
        )
        scores_b = (seen_bd @ self.tensors["score.weight"].T + self.tensors["score.bias"])[:, 0]
        return self.max_value * scores_b.sigmoid()

    def to(self, device: torch.device) -> "ValueHead":
        """The same head on a device."""
        moved = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        return ValueHead(moved, self.heads, self.max_value)


def value_card(folder: Path) -> Mapping[str, Any]:
    """The card of the value head in a folder; raises ``ValueError`` where none lies there."""
    card = read_card(str(folder), None) if folder.is_dir() else None
    if card is None or card.get("format") != FORMAT:
        raise ValueError(
            f"{folder} holds no value head ({WEIGHTS} and a {CARD} of format {FORMAT}): make one with "
            "`assayd train value`"
        )
    return card


def load_value_head(folder: Path, width: int) -> ValueHead:
    """The head in a folder, for states of ``width``; raises ``ValueError`` for one that does not fit."""
    card = value_card(folder)
    tensors = {name: tensor.float() for name, tensor in load_file(folder / WEIGHTS).items()}
    sizes = {"d": width, "3d": 3 * width, "1": 1}
    wanted = {name: tuple(sizes[axis] for axis in shape) for name, shape in SHAPES.items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != wanted:
        wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise ValueError(
            f"{folder}: these tensors are not those of a value head over {width} states: {wrong}"
        )
    heads, max_value = int(card["heads"]), float(card["max_value"])
    if heads < 1 or width % heads or not max_value > 0:
        raise ValueError(f"{folder}: {heads} heads and a max_value of {max_value} fit no states of {width}")
    return ValueHead(tensors, heads, max_value)
