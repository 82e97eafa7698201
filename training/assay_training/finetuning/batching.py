"""Rows of nearly one length together, so that little is computed on padding."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

BATCHES_SORTED_TOGETHER = 32
TOKENS_AT_ONCE = 16_384
"""Places of one forward pass that keeps nothing for a gradient."""


def padded(rows: Sequence[NDArray[np.int32] | list[int]]) -> Tensor:
    """Right-padded ids ``[b, t]``; what stands right of a row's own tokens is never looked at."""
    ids_bt = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for ids_t, row in zip(ids_bt, rows, strict=True):
        ids_t[: len(row)] = row
    return torch.from_numpy(ids_bt)


def batches_by_length(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices in batches of at most ``tokens`` places, longest first; a row alone may be longer."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


class LengthGroupedSampler(Sampler[int]):
    """Indices in an order of which each ``batch_size`` have nearly one length, shuffled anew each epoch.

    The order depends on seed and epoch alone, so that a resumed training finds its place again.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths = np.asarray(lengths)
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer when an epoch begins."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self._seed, self._epoch))
        order = random.permutation(len(self._lengths))
        size = self._batch_size
        # The batch that is not full comes last, or the trainer's batches would not be these.
        whole, rest = np.split(order, [len(order) - len(order) % size])
        reach = size * BATCHES_SORTED_TOGETHER
        batches = [
            batch
            for start in range(0, len(whole), reach)
            for batch in self._sorted(whole[start : start + reach]).reshape(-1, size)
        ]
        for index in random.permutation(len(batches)):
            yield from batches[index].tolist()
        yield from rest.tolist()

    def _sorted(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        return indices[np.argsort(self._lengths[indices], kind="stable")]
