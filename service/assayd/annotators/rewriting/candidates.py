"""One rewrite and what it changes; of several, the smallest that is verified."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...domain.failure import AnnotationFailed, FailureKind
from ...domain.ports import Deadline
from ...domain.rewriting import Checks, Tokenizes, Verdict
from ...domain.rollout import Rollout
from .edits import Comparison, compare, content
from .options import Verify

_VERIFIED = {Verdict.RIGHT: True, Verdict.WRONG: False, Verdict.UNREADABLE: None}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rewrite, compared with its prediction and checked."""

    text: str
    reply: str
    comparison: Comparison
    verified: bool | None


@dataclass(frozen=True, slots=True)
class Examiner:
    """Compares rewrites with their prediction and checks them; without a ``checker`` nothing is verified."""

    tokenizer: Tokenizes
    checker: Checks | None
    verify: Verify | None

    async def correctness(self, rollout: Rollout, deadline: Deadline) -> bool | None:
        """Whether the prediction is right: by the caller's word, else by its answer; None where neither tells."""
        if rollout.correct is not None:
            return rollout.correct
        return await self.reaches(rollout.completion.text, rollout, deadline)

    async def reaches(self, text: str, rollout: Rollout, deadline: Deadline) -> bool | None:
        """Whether ``text`` ends in the reference's answer; None where that cannot be told."""
        if self.checker is None or self.verify is None or rollout.reference is None:
            return None
        verdict = await self.checker.check(
            text, rollout.reference, tolerance=self.verify.tol, deadline=deadline
        )
        return _VERIFIED[verdict]

    async def examine(
        self, rollout: Rollout, text: str, reply: str, deadline: Deadline, *, correct: bool | None
    ) -> Candidate:
        """A wrong prediction that was left as it is does not count as mended, whatever the checker says."""
        unchanged = text == rollout.completion.text
        verified = await self.reaches(text, rollout, deadline)
        if unchanged and correct is False:
            verified = False
        return Candidate(text, reply, await self._compared(rollout, text, correct=correct), verified)

    async def _compared(self, rollout: Rollout, text: str, *, correct: bool | None) -> Comparison:
        completion = rollout.completion
        source = content(completion)
        if source.token_ids is None or not self.tokenizer.is_policy:
            source = await self.tokenizer.encode(completion.text)
        if text == completion.text:
            return compare(source, source, finished=correct is not False or not completion.truncated)
        return compare(source, await self.tokenizer.encode(text), finished=not completion.truncated)


def chosen(candidates: Sequence[Candidate], max_edit_ratio: float | None) -> Candidate:
    """The verified candidate with the fewest changes, else the one with the fewest; the earlier one of equals.

    Raises ``AnnotationFailed`` where every one changes more than ``max_edit_ratio``.
    """
    small = [one for one in candidates if max_edit_ratio is None or one.comparison.ratio <= max_edit_ratio]
    if not small:
        least = min(candidates, key=lambda one: one.comparison.ratio)
        raise AnnotationFailed(
            FailureKind.UNPARSEABLE,
            f"the smallest rewrite changes {least.comparison.ratio:.0%} of the tokens: "
            f"max_edit_ratio allows {max_edit_ratio:.0%}",
            critique=least.reply,
        )
    return min(small, key=lambda one: (one.verified is not True, one.comparison.distance))
