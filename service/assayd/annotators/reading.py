"""What a reply of the critic turned out to be: the words that the reply grammars share."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ..domain.annotation import Polarity, Remark

_LABEL: Final = re.compile(r"\s*\(Label: [^()]*\)\W*$", re.IGNORECASE)
_PAIRS: Final = ('""', "''", "“”", "‘’", "«»", "``", "**")


class Outcome(StrEnum):
    """What came of reading a reply."""

    MARKED = "marked"
    CLEAN = "clean"
    CUT = "cut"
    UNPARSEABLE = "unparseable"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the critic wrote. ``cut``: it ran out of tokens. ``steps``: how many steps it was shown."""

    text: str
    cut: bool = False
    steps: int = 0

    @property
    def spoken(self) -> str:
        """The reply without the reasoning in front of it; nothing, if it never came to an end of that."""
        spoken = self.text.rpartition("</think>")[2]
        return "" if spoken.lstrip().startswith("<think>") else spoken

    @property
    def lines(self) -> str:
        """What was spoken, without the line that was cut off."""
        return self.spoken.rpartition("\n")[0] if self.cut else self.spoken


@dataclass(frozen=True, slots=True)
class Reading:
    """The remarks of a reply, or why there are none. ``detail`` explains an unparseable or cut one."""

    outcome: Outcome
    remarks: tuple[Remark, ...] = ()
    detail: str = ""


def conclude(reply: Reply, remarks: list[Remark], *, clean: bool, expected: str) -> Reading:
    """The reading of a reply that holds ``remarks`` and says, or does not say, that all is well.

    A remark outweighs the words that nothing was found; a reply that was cut never says that all is well.
    """
    if remarks:
        return Reading(Outcome.MARKED, tuple(remarks))
    if reply.cut:
        return Reading(Outcome.CUT, detail="the critique was cut off before its first complete span")
    if clean:
        return Reading(Outcome.CLEAN)
    return Reading(
        Outcome.UNPARSEABLE, detail=f"the critique does not follow its grammar: expected {expected}"
    )


def bare(quote: str) -> str:
    """A quote without the whitespace, quote marks and emphasis around it."""
    quote = quote.strip()
    while len(quote) >= 2 and quote[0] + quote[-1] in _PAIRS:
        quote = quote[1:-1].strip()
    return quote


def remark(quote: str, label: str, polarity: Polarity = Polarity.NEGATIVE) -> Remark:
    """A remark that says no more than which span is meant and what it is called.

    A label behind the quote, which some models add to every span, is not part of it.
    """
    return Remark(bare(_LABEL.sub("", quote)), label, polarity=polarity)
