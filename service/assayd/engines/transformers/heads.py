"""Loads the scalar head of a reward model from its checkpoint."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedConfig

from ..model_files import WEIGHTS_INDEX, model_file
from ..reward_heads import scalar_head

WEIGHTS: Final = ("model.safetensors", WEIGHTS_INDEX)
PICKLES: Final = ("pytorch_model.bin", "pytorch_model.bin.index.json")
"""PyTorch's own, whose format can carry code; even where they are allowed, only tensors are unpickled."""


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


def find_head(
    name: str,
    revision: str | None,
    config: PreTrainedConfig,
    beside: Iterable[str],
    files: tuple[str, ...] = WEIGHTS,
) -> Head:
    """The head of the checkpoint ``name``; ``beside`` are its tensors that are not the backbone's.

    ``files`` are those that may hold it, the first that is there counts.

    Raises ``ValueError`` where none is a scalar head, or several are and the config does not say which.
    """
    tensors = dict(_tensors(name, revision, frozenset(beside), files))
    head = scalar_head(name, config, {key: tuple(tensor.shape) for key, tensor in tensors.items()})
    bias = tensors.get(f"{head}.bias")
    return Head(tensors[f"{head}.weight"][0].float(), 0.0 if bias is None else bias.float().item())


def _tensors(
    name: str, revision: str | None, keys: frozenset[str], files: tuple[str, ...]
) -> Iterator[tuple[str, Tensor]]:
    for path in _weights(name, revision, keys, files):
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                yield from ((key, file.get_tensor(key)) for key in keys.intersection(file.keys()))
        else:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            yield from ((key, state[key]) for key in keys.intersection(state))


def _weights(name: str, revision: str | None, keys: frozenset[str], files: tuple[str, ...]) -> Iterator[Path]:
    """The files that hold ``keys``."""
    path = next((found for file in files if (found := model_file(name, revision, file)) is not None), None)
    if path is None:
        raise ValueError(f"{name} has none of the files {', '.join(files)}")
    if path.suffix != ".json":
        yield path
        return
    shard_of = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
    for shard in sorted({shard_of[key] for key in keys if key in shard_of}):
        found = model_file(name, revision, shard)
        if found is None:
            raise ValueError(f"{name} lacks {shard}, which its index names")
        yield found
