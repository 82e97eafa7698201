"""In which shapes a model reads its rows: what decides whether their numbers depend on their company.

A sum is rounded by the shape of the tensors that it is computed in. So a row that is read alone, at its own length,
has the same numbers to the last bit whoever else is asking; rows in a few fixed shapes nearly always have.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

from ...settings import Determinism
from .grouping import group_of_first

PASS_COSTS_TOKENS: Final = 64
"""A forward pass costs about as much as so many tokens: padding beyond that is dearer than a second pass."""
BUCKET_ROWS: Final = 8
"""Rows of every pass over one bucket, as far as its tokens go."""
SHORTEST_BUCKET: Final = 16

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Shapes:
    """The shapes of one model by its level.

    ``pass_tokens`` are the padded tokens of one pass, ``context`` the most tokens of one row (None: nothing bounds it).
    """

    level: Determinism
    pass_tokens: int
    context: int | None = None

    def pass_of_first(self, lengths: Sequence[int]) -> list[int]:
        """Which rows are read in one pass with the first of them: indices of ``lengths``, 0 among them."""
        match self.level:
            case Determinism.STRICT:
                return [0]
            case Determinism.BUCKETED:
                columns = self._bucket(lengths[0])
                like = (index for index, length in enumerate(lengths) if self._bucket(length) == columns)
                return list(islice(like, self._rows_of(columns)))
            case Determinism.NONE:
                return group_of_first(lengths, padding=PASS_COSTS_TOKENS, size=self.pass_tokens)

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
        return max(len(lengths), self._rows_of(columns)), columns

    def padded(self, rows: Sequence[Sequence[Value]], fill: Value) -> list[list[Value]]:
        """The rows on the left of that shape, the first of them again in rows that nobody asked for."""
        count, columns = self.shape([len(row) for row in rows])
        full = [[*row, *(fill,) * (columns - len(row))] for row in rows]
        return full + full[:1] * (count - len(rows))

    def _bucket(self, length: int) -> int:
        """The least of 16, 24, 32, 48, 64, 96, ... that holds a row, but no more than the model holds."""
        power = SHORTEST_BUCKET
        while power < length:
            power *= 2
        columns = power * 3 // 4 if power > SHORTEST_BUCKET and length <= power * 3 // 4 else power
        return columns if self.context is None else max(length, min(columns, self.context))

    def _rows_of(self, columns: int) -> int:
        return max(1, min(BUCKET_ROWS, self.pass_tokens // columns))
