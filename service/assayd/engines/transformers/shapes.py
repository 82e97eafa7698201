"""In which shapes a model reads its rows: what decides whether their numbers depend on their company.

A sum is rounded by the shape of the tensors that it is computed in. So a row that is read alone, at its own length,
has the same numbers to the last bit whoever else is asking; rows in a few fixed shapes nearly always have.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from ...settings import Determinism
from .grouping import groups_by_length

PASS_TOKENS: Final = 4096
"""Padded tokens in one forward pass: what bounds its memory."""
PASS_COSTS_TOKENS: Final = 64
"""A forward pass costs about as much as so many tokens: padding beyond that is dearer than a second pass."""
BUCKET_ROWS: Final = 8
"""Rows of every pass over one bucket, as far as ``PASS_TOKENS`` goes."""
SHORTEST_BUCKET: Final = 16

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Shapes:
    """The shapes of one model by its level; ``context`` is the most tokens that it reads at once, None: no bound."""

    level: Determinism = Determinism.NONE
    context: int | None = None

    def passes(self, lengths: Sequence[int]) -> list[list[int]]:
        """Which rows are read together: indices of ``lengths``, pass by pass."""
        match self.level:
            case Determinism.STRICT:
                return [[index] for index in range(len(lengths))]
            case Determinism.BUCKETED:
                return self._in_buckets(lengths)
            case Determinism.NONE:
                return groups_by_length(lengths, padding=PASS_COSTS_TOKENS, size=PASS_TOKENS)

    def together(self, rows: int) -> list[list[int]]:
        """Which rows of one pass may share what is computed on its hidden states; else each has it for itself."""
        if self.level is Determinism.NONE:
            return [list(range(rows))]
        return [[row] for row in range(rows)]

    def shape(self, lengths: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of a pass over rows of these lengths."""
        if self.level is not Determinism.BUCKETED:
            return len(lengths), max(lengths)
        columns = self._bucket(max(lengths))
        return max(len(lengths), _rows_of(columns)), columns

    def padded(self, rows: Sequence[Sequence[Value]], fill: Value) -> list[list[Value]]:
        """The rows on the left of that shape, the first of them again in rows that nobody asked for."""
        count, columns = self.shape([len(row) for row in rows])
        full = [[*row, *(fill,) * (columns - len(row))] for row in rows]
        return full + full[:1] * (count - len(rows))

    def _in_buckets(self, lengths: Sequence[int]) -> list[list[int]]:
        buckets: dict[int, list[int]] = {}
        for index, length in enumerate(lengths):
            buckets.setdefault(self._bucket(length), []).append(index)
        return [
            indices[start : start + _rows_of(columns)]
            for columns, indices in sorted(buckets.items())
            for start in range(0, len(indices), _rows_of(columns))
        ]

    def _bucket(self, length: int) -> int:
        """The least of 16, 24, 32, 48, 64, 96, ... that holds a row, but no more than the model holds."""
        power = SHORTEST_BUCKET
        while power < length:
            power *= 2
        columns = power * 3 // 4 if power > SHORTEST_BUCKET and length <= power * 3 // 4 else power
        return columns if self.context is None else max(length, min(columns, self.context))


def _rows_of(columns: int) -> int:
    return max(1, min(BUCKET_ROWS, PASS_TOKENS // columns))
