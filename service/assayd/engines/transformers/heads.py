"""Finds the scalar head of a reward model among the tensors of its checkpoint, whatever its author called it.

Known layouts: ``score`` or ``classifier`` of Hugging Face's token and sequence classification, a linear layer of any
name beside the backbone (OpenRLHF and the released segment models, whose config names it ``value_head_prefix``).
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedConfig

from ..model_files import model_file

FILES: Final = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
LABELLED: Final = ("score", "classifier")
"""What Hugging Face calls a head."""


@dataclass(frozen=True, slots=True)
class Head:
    """A linear map from a hidden state to one number, in float32."""

    weight_d: Tensor
    bias: float

    def __call__(self, hidden_nd: Tensor) -> Tensor:
        """One score per row, float32."""
        return hidden_nd.float() @ self.weight_d + self.bias

    def to(self, device: torch.device) -> "Head":
        """The same head on a device."""
        return Head(self.weight_d.to(device), self.bias)


def find_head(name: str, revision: str | None, config: PreTrainedConfig, beside: Iterable[str]) -> Head:
    """The head of the checkpoint ``name``; ``beside`` are its tensors that are not the backbone's.

    Raises ``ValueError`` where none is a scalar head, or several are and the config does not say which.
    """
    tensors = dict(_tensors(name, revision, frozenset(beside)))
    hidden = config.get_text_config(decoder=True).hidden_size
    heads = [key.removesuffix(".weight") for key, tensor in tensors.items() if tensor.shape == (1, hidden)]
    wanted = getattr(config, "value_head_prefix", None)
    chosen = [wanted] if wanted in heads else heads
    if len(chosen) != 1:
        raise ValueError(f"{name} {_complaint(heads, tensors, hidden)}")
    bias = tensors.get(f"{chosen[0]}.bias")
    return Head(tensors[f"{chosen[0]}.weight"][0].float(), 0.0 if bias is None else bias.float().item())


def _complaint(heads: list[str], tensors: Mapping[str, Tensor], hidden: int) -> str:
    if heads:
        return (
            f"has several scalar heads, {', '.join(sorted(heads))}: name the one to read as `value_head_prefix` in its "
            "config.json"
        )
    for prefix in LABELLED:
        weight = tensors.get(f"{prefix}.weight")
        if weight is not None and weight.ndim == 2 and weight.shape[1] == hidden:
            return (
                f"has a head of {len(weight)} labels, which is a classifier and gives no reward: train one with "
                "num_labels=1, for instance with `assayd train segment-rm`"
            )
    return (
        f"has no scalar head (a tensor of shape [1, {hidden}] beside the backbone): is it a language model? A "
        "segment model is made of one with `assayd train segment-rm`"
    )


def _tensors(name: str, revision: str | None, keys: frozenset[str]) -> Iterator[tuple[str, Tensor]]:
    for path in _weights(name, revision, keys):
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                yield from ((key, file.get_tensor(key)) for key in keys.intersection(file.keys()))
        else:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            yield from ((key, state[key]) for key in keys.intersection(state))


def _weights(name: str, revision: str | None, keys: frozenset[str]) -> Iterator[Path]:
    """The files that hold ``keys``."""
    path = next((found for file in FILES if (found := model_file(name, revision, file)) is not None), None)
    if path is None:
        raise ValueError(f"{name} has none of the files {', '.join(FILES)}")
    if path.suffix != ".json":
        yield path
        return
    shard_of = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
    for shard in sorted({shard_of[key] for key in keys if key in shard_of}):
        found = model_file(name, revision, shard)
        if found is None:
            raise ValueError(f"{name} lacks {shard}, which its index names")
        yield found
