"""Preference pairs: two answers to one prompt, of which the rejected one holds one planted error (or insult) more.

The number of errors decides and nothing else. Which places they have does not, so that a model that learns from the
pairs judges every place on its own merit: after a first error it must not hold a grudge against what follows.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random

from .items import Domain, GoldSpan


class Contest(StrEnum):
    """Where the errors of the two answers are."""

    FIRST = "none against one"
    FURTHER = "one against the same and one later"
    ELSEWHERE = "one against two at places of their own"


CONTESTS = (Contest.FIRST, Contest.FURTHER, Contest.ELSEWHERE)
USUAL_CONTESTS = (2.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two completions and the characters of each that are wrong.

    `twins` are worded alike and differ in what is planted alone; the others answer in words of their own.
    """

    domain: Domain
    contest: Contest
    twins: bool
    prompt: str
    chosen: str
    rejected: str
    chosen_errors: tuple[GoldSpan, ...]
    rejected_errors: tuple[GoldSpan, ...]


def places(random: Random, contest: Contest, count: int) -> tuple[frozenset[int], frozenset[int]]:
    """At which of `count` places (two at least, but for a first error) the chosen and the rejected answer err."""
    match contest:
        case Contest.FIRST:
            return frozenset(), frozenset({random.randrange(count)})
        case Contest.FURTHER:
            early, late = sorted(random.sample(range(count), 2))
            return frozenset({early}), frozenset({early, late})
        case Contest.ELSEWHERE:
            return frozenset({random.randrange(count)}), frozenset(random.sample(range(count), 2))


def mixed(seed: int | str, sources: Sequence[tuple[float, Iterator[Pair]]]) -> Iterator[Pair]:
    """Endless pairs of several sources in these shares, in random order."""
    random = Random(f"pairs {seed}")
    weights = [weight for weight, _ in sources]
    while True:
        yield next(random.choices(sources, weights=weights)[0][1])


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """One JSON object a line: `prompt`, `chosen`, `rejected`."""
    with path.open("w", encoding="utf-8") as file:
        for pair in pairs:
            row = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
