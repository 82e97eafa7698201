"""A key-value cache whose rows can leave and join while text is written.

Rows are padded on the left, so that all of them write into the same column.
"""

from collections.abc import Sequence
from typing import Final, cast

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

    def hold(self, keys_bhtd: Tensor, values_bhtd: Tensor, columns: int) -> None:
        """Hold the first ``columns`` columns; those behind are spare."""
        if not self.is_initialized:
            self.lazy_initialization(keys_bhtd, values_bhtd)
        self._room = keys_bhtd, values_bhtd
        self.keys, self.values = keys_bhtd[:, :, :columns], values_bhtd[:, :, :columns]

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append columns; return all of them."""
        if self._room is None:
            self.hold(key_states, value_states, key_states.shape[-2])
            return self.held
        start = self.get_seq_length()
        stop = start + key_states.shape[-2]
        keys_bhtd, values_bhtd = self._room
        if keys_bhtd.shape[-2] < stop:
            spare = (0, 0, 0, stop - start + SPARE_COLUMNS)
            keys_bhtd, values_bhtd = (functional.pad(states_bhtd, spare) for states_bhtd in self.held)
        keys_bhtd[:, :, start:stop], values_bhtd[:, :, start:stop] = key_states, value_states
        self.hold(keys_bhtd, values_bhtd, stop)
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
        keys_bhtd = _stacked([(keys, rows) for (keys, _), rows in held], columns)
        layer.hold(keys_bhtd, _stacked([(values, rows) for (_, values), rows in held], columns), columns)
    return stacked


def _roomy(cache: Cache) -> list[RoomyLayer]:
    return cast(list[RoomyLayer], cache.layers)


def _stacked(parts: Sequence[tuple[Tensor, list[int]]], columns: int) -> Tensor:
    """Put the named rows of all parts under each other, flush at ``columns``, with spare columns behind."""
    _, heads, _, width = parts[0][0].shape
    # Zeros, because what the mask hides is still multiplied: by zero, and a NaN would survive that.
    room_bhtd = parts[0][0].new_zeros(
        (sum(len(rows) for _, rows in parts), heads, columns + SPARE_COLUMNS, width)
    )
    first = 0
    for states_bhtd, rows in parts:
        common = min(columns, states_bhtd.shape[-2])
        chosen = states_bhtd if len(rows) == len(states_bhtd) else states_bhtd[rows]
        room_bhtd[first : first + len(rows), :, columns - common : columns] = chosen[:, :, -common:]
        first += len(rows)
    return room_bhtd
