"""Reads which step a reply calls the first wrong one: `The first error step is [k]`, or `correct` (G4)."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ..reading import Reply

_SENTENCE: Final = re.compile(
    r"\bfirst\s+(?:error|wrong|incorrect)\s+(?:step|line)\s+is\W*?\[\s*([0-9]{1,6})\s*\]", re.IGNORECASE
)
_LABEL: Final = re.compile(r"\[\s*([0-9]{1,6})\s*\]")
_BARE: Final = re.compile(r"[\s*`'\".]*([0-9]{1,6})[\s*`'\".]*")
_CORRECT: Final = re.compile(
    r"\W*(?:(?:the\s+)?(?:prediction|solution|everything|it|(?:all|every)(?:\s+the)?\s+(?:steps?|lines?))\s+"
    r"(?:is|are)\s+)?(?:(?:all|fully|completely|entirely)\s+)?correct\W*",
    re.IGNORECASE,
)
_SAYS_CORRECT: Final = re.compile(r"\bcorrect\b", re.IGNORECASE)


class Finding(StrEnum):
    """What a reply says of a prediction."""

    STEP = "step"
    CORRECT = "correct"
    CUT = "cut"
    UNPARSEABLE = "unparseable"


@dataclass(frozen=True, slots=True)
class Located:
    """``step`` is the index, from 0, of the first wrong step where ``finding`` is ``step``; ``detail`` explains."""

    finding: Finding
    step: int | None = None
    detail: str = ""


def read_label(reply: Reply, *, base: int) -> Located:
    """What a reply says, by the grammar.

    The sentence of the grammar counts wherever it stands, the last one of several. Without it the reply has to name
    one label and nothing that it calls correct, or say that all is correct and nothing else: "incorrect" is not
    "correct", nor is "not correct" or "correct up to [2]". Labels count from ``base``, ``reply.steps`` of them.
    """
    said = reply.spoken
    labels = _SENTENCE.findall(said)[-1:] or sorted(set(_LABEL.findall(said)))
    if not labels and (bare := _BARE.fullmatch(said)):
        labels = [bare[1]]
    sure = bool(_SENTENCE.search(said)) or not _SAYS_CORRECT.search(said)
    if len(labels) == 1 and sure:
        return _at(int(labels[0]) - base, reply.steps, base)
    if reply.cut:
        return Located(Finding.CUT, detail="the reply was cut off before it named a step")
    if not labels and _CORRECT.fullmatch(said):
        return Located(Finding.CORRECT)
    return Located(
        Finding.UNPARSEABLE,
        detail="the reply does not follow its grammar: expected `The first error step is [k]` or `correct`",
    )


def released_label(reply: str) -> int:
    """What the released ``process_label`` reads: -1 for correct, else the first digit of the reply (G4).

    "incorrect" holds "correct", ``[12]`` is 1, and what it cannot read is -1 too.
    """
    if "correct" in reply:
        return -1
    digit = re.search("[0-9]", reply)
    return int(digit[0]) if digit else -1


def _at(step: int, steps: int, base: int) -> Located:
    if 0 <= step < steps:
        return Located(Finding.STEP, step)
    return Located(
        Finding.UNPARSEABLE,
        detail=f"the reply names step {step + base}, but they run from {base} to {steps + base - 1}",
    )
