"""Compares answers as words, as RLMEC does for questions: the same string, but for case and a full stop."""

from ..domain.ports import Deadline
from ..domain.rewriting import Verdict
from .answers import final_answer


class QaChecker:
    """Compares the final answers of two texts letter by letter."""

    name = "qa"

    async def check(self, text: str, gold: str, *, tolerance: float, deadline: Deadline) -> Verdict:
        """``tolerance`` has no say: words are the same or not."""
        known, given = final_answer(gold), final_answer(text)
        if not known:
            return Verdict.UNREADABLE
        return Verdict.RIGHT if given is not None and _plain(given) == _plain(known) else Verdict.WRONG

    async def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


def _plain(answer: str) -> str:
    return " ".join(answer.lower().split())
