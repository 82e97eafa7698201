"""A key-value cache whose rows can leave and join while text is written.

Rows are padded on the left, so that all of them write into the same column.
"""

from collections.abc import Sequence
from typing import Final, cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Cache, DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

SPARE_COLUMNS: Final = 64


class RoomyLayer(DynamicLayer):
    """The keys and values of one layer, ``[rows, heads, columns, width]``, with spare columns at the end.

    The layer that transformers ships copies everything for every token written: twice the time of a step.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._room: tuple[Tensor, Tensor] | None = None

    @property
    def held(self) -> tuple[Tensor, Tensor]:
        """Keys and values; some must have been written."""
        return cast(Tensor, self.keys), cast(Tensor, self.values)

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
            return self.held
        start = self.get_seq_length()
        stop = start + key_states.shape[-2]
        if self._room is None or self._room[0].shape[-2] < stop:
            keys_bhtd, values_bhtd = self.held
            spare = stop - start + SPARE_COLUMNS
            self._room = _widened(keys_bhtd, right=spare), _widened(values_bhtd, right=spare)
        keys_bhtd, values_bhtd = self._room
        keys_bhtd[:, :, start:stop], values_bhtd[:, :, start:stop] = key_states, value_states
        self.keys, self.values = keys_bhtd[:, :, :stop], values_bhtd[:, :, :stop]
        return self.held


def can_stack(config: PreTrainedConfig) -> bool:
    """Whether the model remembers by keys and values alone: no recurrent state, no index."""
    # A sliding window needs no layer of its own: the model's mask hides what lies outside.
    layers = DynamicCache(config=config).layers
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


def new_cache(config: PreTrainedConfig) -> DynamicCache:
    """Make an empty cache, roomy where the model allows it."""
    cache = DynamicCache(config=config)
    if can_stack(config):
        cache.layers = [RoomyLayer() for _ in cache.layers]
    return cache


def stack(parts: Sequence[tuple[Cache, list[int]]], columns: int, config: PreTrainedConfig) -> DynamicCache:
    """Copy the named rows of each part into one cache, right-aligned in ``columns`` columns."""
    stacked = new_cache(config)
    for index, layer in enumerate(_roomy(stacked)):
        held = [(_roomy(cache)[index].held, rows) for cache, rows in parts]
        layer.hold(
            torch.cat([_aligned(keys_bhtd[rows], columns) for (keys_bhtd, _), rows in held]),
            torch.cat([_aligned(values_bhtd[rows], columns) for (_, values_bhtd), rows in held]),
        )
    return stacked


def _roomy(cache: Cache) -> list[RoomyLayer]:
    return cast(list[RoomyLayer], cache.layers)


def _aligned(states_bhtd: Tensor, columns: int) -> Tensor:
    # A negative pad cuts columns off.
    return functional.pad(states_bhtd, (0, 0, columns - states_bhtd.shape[-2], 0))


def _widened(states_bhtd: Tensor, *, right: int) -> Tensor:
    return functional.pad(states_bhtd, (0, 0, 0, right))
