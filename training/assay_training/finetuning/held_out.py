"""Keeps rows out of a training, to measure on them."""

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

Row = TypeVar("Row")


def split_by(
    group: Callable[[Row], str], rows: Sequence[Row], share: float, seed: int
) -> tuple[list[Row], list[Row]]:
    """Rows to train on and about ``share`` of the groups, at least one, to measure on; a group stays together.

    Nothing is held out where ``share`` is 0.
    """
    groups = sorted({group(row) for row in rows})
    count = min(len(groups), max(1, round(share * len(groups)))) if share else 0
    kept_out = set(random.Random(seed).sample(groups, count))
    trained = [row for row in rows if group(row) not in kept_out]
    return trained, [row for row in rows if group(row) in kept_out]
