"""Arithmetic stories to learn on, and others to be examined on.

Both come from the generator of the embedded models' own world; no story that is asked in the examination is
shown to the base policy when it is taught to slip, or in reinforcement.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from assay_training.corpora.arithmetic import arithmetic_items
from assay_training.corpora.items import Item, Split

STEPS = (1, 2)
ASKED = 200
EXAMINATION_SEED = "examination"
_ANSWER = re.compile(r"^A: *(\d+)\s*$", re.MULTILINE)


def training_problems(seed: int, count: int) -> list[dict[str, Any]]:
    """Stories of one seed."""
    asked = {row["prompt"][0]["content"] for row in examination()}
    stories = (row for row in _rows(f"reinforcement {seed}") if row["prompt"][0]["content"] not in asked)
    return list(islice(stories, count))


def examination() -> list[dict[str, Any]]:
    """The stories that every run is examined on."""
    return list(islice(_rows(EXAMINATION_SEED), ASKED))


def answer(solution: str) -> str | None:
    """The number behind the last ``A:``."""
    found = _ANSWER.findall(solution)
    return found[-1] if found else None


def _rows(seed: str) -> Iterator[dict[str, Any]]:
    return map(_row, arithmetic_items(seed, Split.TRAIN, steps=STEPS, right=1.0, jumbled=0.0))


def _row(item: Item) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": item.prompt}],
        "reference": item.completion,
        "answer": answer(item.completion),
    }
