"""A key-value cache whose rows can leave and join while text is written.

Rows are padded on the left, so that all of them write into the same column.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Cache, DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

SPARE_COLUMNS = 64


class RoomyLayer(DynamicLayer):
    """The keys and values of one layer, ``[rows, heads, columns, width]``, with spare columns at the end.

    transformers' own layer copies everything for every token written.
    """

    def __init__(self) -> None:
        super().__init__()
        self._room: tuple[Tensor, Tensor] | None = None

    def hold(self, keys_bhtd: Tensor, values_bhtd: Tensor) -> None:
        """Hold these and nothing else."""
        if not self.is_initialized:
            self.lazy_initialization(keys_bhtd, values_bhtd)
        self.keys, self.values, self._room = keys_bhtd, values_bhtd, None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append columns; return all of them."""
        if not self.is_initialized:
            self.hold(key_states, value_states)
            return key_states, value_states
        start = self.keys.shape[-2]
        stop = start + key_states.shape[-2]
        if self._room is None or self._room[0].shape[-2] < stop:
            spare = stop - start + SPARE_COLUMNS
            self._room = _padded(self.keys, right=spare), _padded(self.values, right=spare)
        keys, values = self._room
        keys[:, :, start:stop], values[:, :, start:stop] = key_states, value_states
        self.keys, self.values = keys[:, :, :stop], values[:, :, :stop]
        return self.keys, self.values


def can_stack(config: PreTrainedConfig) -> bool:
    """Whether the model remembers by keys and values alone: no recurrent state, no index."""
    # A sliding window needs no layer of its own: the model's mask hides what lies outside.
    layers = DynamicCache(config=config).layers
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


def new_cache(config: PreTrainedConfig) -> DynamicCache:
    """An empty cache; roomy where the model allows it."""
    cache = DynamicCache(config=config)
    if can_stack(config):
        cache.layers = [RoomyLayer() for _ in cache.layers]
    return cache


def stack(parts: Sequence[tuple[Cache, list[int]]], columns: int, config: PreTrainedConfig) -> DynamicCache:
    """One cache of the named rows of each part, right-aligned in ``columns`` columns."""
    stacked = new_cache(config)
    for index, layer in enumerate(stacked.layers):
        layers = [(cache.layers[index], rows) for cache, rows in parts]
        layer.hold(
            torch.cat([_aligned(part.keys[rows], columns) for part, rows in layers]),
            torch.cat([_aligned(part.values[rows], columns) for part, rows in layers]),
        )
    return stacked


def _aligned(states_bhtd: Tensor, columns: int) -> Tensor:
    # A negative pad cuts columns off.
    return functional.pad(states_bhtd, (0, 0, columns - states_bhtd.shape[-2], 0))


def _padded(states_bhtd: Tensor, *, right: int) -> Tensor:
    return functional.pad(states_bhtd, (0, 0, 0, right))
