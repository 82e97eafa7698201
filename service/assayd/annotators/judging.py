"""What one critique is worth: the reply is read, its remarks are placed, and every token gets its value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..domain.annotation import MarkedSpan, Match, Polarity, Remark
from ..domain.failure import AnnotationFailed, FailureKind
from ..domain.ports import FinishReason, Generation
from ..domain.rollout import Completion, Rollout
from ..domain.text import Span
from .compat import RELEASED, Released, substring_values, token_texts
from .exhibit import Exhibit
from .grammars import Grammar
from .imitation import imitated_spans, outside
from .marking import Marker
from .options import Matching, Mode, Settled
from .reading import Outcome, Reply
from .scoring import TokenValues, is_masked, offset_values

_FAILURES: Final = {
    Outcome.CUT: FailureKind.TRUNCATED_CRITIQUE,
    Outcome.UNPARSEABLE: FailureKind.UNPARSEABLE,
}


@dataclass(frozen=True, slots=True)
class Case:
    """A rollout as it is laid before the critic; ``imitated`` are the characters that speak its language."""

    completion: Completion
    exhibit: Exhibit
    imitated: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Vote:
    """One critique, judged. ``transient``: zeros that stand in for a critic that failed (compat mode)."""

    values: TokenValues
    marks: tuple[MarkedSpan, ...] = ()
    critique: str = ""
    truncated: bool = False
    transient: bool = False


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges by critiques in one grammar, which is called ``reply``, and by settled options."""

    reply: str
    grammar: Grammar
    options: Settled
    mode: Mode

    def case(self, rollout: Rollout) -> Case:
        """Lay a rollout before the critic."""
        text = rollout.completion.text
        imitated = imitated_spans(self.grammar.imitations, text) if self.mode is Mode.STRICT else ()
        return Case(rollout.completion, Exhibit.of(rollout, self.options), imitated)

    def vote(self, case: Case, said: Generation, index: int) -> Vote:
        """Judge by what the critic said.

        Raises ``AnnotationFailed``: ``unparseable`` or ``truncated_critique``. In compat mode every text is a
        verdict, as in the released code.
        """
        cut = said.finish is FinishReason.LENGTH
        marker = Marker(case.completion, case.exhibit, self.options, case.imitated, vote=index)
        if self.mode is Mode.COMPAT:
            released = RELEASED[self.reply](said.text)
            remarks = released.remarks
        else:
            remarks = self._remarks(case, said, cut)
            released = Released.of(remarks)
        if self.options.match is Matching.SUBSTRING:
            marks = marker.mark_nowhere(remarks, Match.SUBSTRING)
            values = self.released_values(case.completion, released)
        else:
            marks = marker.mark_steps(remarks) if self.grammar.by_step else marker.mark_quotes(remarks)
            values = self._placed_values(case, marks)
        if self.mode is Mode.STRICT:
            _refuse_unfounded(marks, case, said.text)
        return Vote(values, marks, said.text, cut)

    def unmarked_values(self, case: Case) -> tuple[float, ...]:
        """What every token receives from a critique that marks nothing."""
        if self.options.match is Matching.SUBSTRING:
            return self.released_values(case.completion, Released("")).intrinsic
        return self._placed_values(case, ()).intrinsic

    def released_values(self, completion: Completion, released: Released) -> TokenValues:
        """The rewards of the released code's substring test."""
        values = substring_values(
            token_texts(completion.alignment),
            released,
            negative=self.options.negative_reward,
            positive=self.options.positive_reward,
            unmarked=self._unmarked,
        )
        masked = [index for index in range(len(completion)) if is_masked(completion, index)]
        return self._from_first_token(values.without(*masked))

    def _remarks(self, case: Case, said: Generation, cut: bool) -> tuple[Remark, ...]:
        reading = self.grammar.read(Reply(said.text, cut, len(case.exhibit.steps)))
        if kind := _FAILURES.get(reading.outcome):
            raise AnnotationFailed(kind, reading.detail, critique=said.text)
        return reading.remarks

    def _placed_values(self, case: Case, marks: Sequence[MarkedSpan]) -> TokenValues:
        values = offset_values(
            case.completion,
            marks,
            unmarked=self._unmarked,
            overlap=self.options.token_overlap,
            imitated=case.imitated,
        )
        return self._from_first_token(values)

    def _from_first_token(self, values: TokenValues) -> TokenValues:
        return values if self.options.first_token_intrinsic else values.without(0)

    @property
    def _unmarked(self) -> float:
        options = self.options
        return options.positive_reward if self.grammar.praises_silence else options.neutral_reward


def _refuse_unfounded(marks: Sequence[MarkedSpan], case: Case, critique: str) -> None:
    """A verdict must be about this completion, and must not be one that the completion may have dictated."""
    if marks and not any(mark.match.found for mark in marks):
        quotes = ", ".join(f"{mark.text!r} ({mark.match})" for mark in marks)
        raise AnnotationFailed(
            FailureKind.UNPARSEABLE, f"no quote of the critique counts: {quotes}", critique=critique
        )
    faulted = tuple(mark.span for mark in marks if mark.polarity is Polarity.NEGATIVE and mark.span)
    if case.imitated and not outside(faulted, case.imitated):
        raise AnnotationFailed(
            FailureKind.UNPARSEABLE,
            "the completion imitates the critic's answer, and the critique faults nothing else in it",
            critique=critique,
        )
