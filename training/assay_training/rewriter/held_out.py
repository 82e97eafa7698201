"""Keeps rows out of the training, and measures a rewriter on them."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..finetuning.held_out import split_by
from .correcting import Corrector
from .rows import Row


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Shares of rows, None where none was held out.

    `located`: the first wrong step is found, or that there is none. `exact_match`: the rewrite is the correction,
    character by character. `wrong_exact_match`: the same, of the wrong predictions alone.
    """

    rows: int
    located: float | None = None
    exact_match: float | None = None
    wrong_exact_match: float | None = None


def split(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Rows to train on and about ``share`` of them to measure on; rows of one question stay together."""
    return split_by(lambda row: row.question, rows, share, seed)


def measure(corrector: Corrector, rows: Sequence[Row]) -> HeldOut:
    """Correct the rows, greedily."""
    if not rows:
        return HeldOut(0)
    made = list(zip(rows, corrector(rows), strict=True))
    right = [row.correction == correction.text for row, correction in made]
    wrong = [fact for row, fact in zip(rows, right, strict=True) if row.error_step is not None]
    found = [
        correction.text is not None and correction.located.step == row.error_step for row, correction in made
    ]
    return HeldOut(
        len(rows),
        sum(found) / len(rows),
        sum(right) / len(rows),
        sum(wrong) / len(wrong) if wrong else None,
    )
