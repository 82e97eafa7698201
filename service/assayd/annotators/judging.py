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
from .grammars import GRAMMARS, Grammar
from .imitation import imitated_spans, outside, reserved_phrases
from .marking import Marker
from .options import Matching, Mode, Settled, Unit
from .reading import Outcome, Reply
from .scoring import TokenValues, is_masked, offset_values
from .sentences import sentence_spans

_FAILURES: Final = {
    Outcome.CUT: FailureKind.TRUNCATED_CRITIQUE,
    Outcome.UNPARSEABLE: FailureKind.UNPARSEABLE,
}


@dataclass(frozen=True, slots=True)
class Case:
    """A rollout as it is laid before the critic: whole, or sentence by sentence.

    ``imitated`` are the characters that speak its language.
    """

    completion: Completion
    exhibits: tuple[Exhibit, ...]
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
        parts = _sentences(text) if self.options.unit is Unit.SENTENCE else (None,)
        exhibits = tuple(Exhibit.of(rollout, self.options, part) for part in parts)
        return Case(rollout.completion, exhibits, imitated)

    def vote(self, case: Case, said: Sequence[Generation], index: int) -> Vote:
        """Judge by what the critic said of each exhibit.

        Raises ``AnnotationFailed``: ``unparseable`` or ``truncated_critique``. In compat mode every text is a
        verdict, as in the released code.
        """
        critique = "\n".join(generation.text for generation in said)
        cut = any(generation.finish is FinishReason.LENGTH for generation in said)
        if self.options.match is Matching.SUBSTRING:
            marks, values = self._anywhere(case, said[0], index)
        else:
            marks = self._placed(case, said, index)
            values = self._placed_values(case, marks)
        if self.mode is Mode.STRICT:
            _refuse_unfounded(marks, case, critique)
        return Vote(values, marks, critique, cut)

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

    def _placed(self, case: Case, said: Sequence[Generation], index: int) -> tuple[MarkedSpan, ...]:
        marks: list[MarkedSpan] = []
        for exhibit, generation in zip(case.exhibits, said, strict=True):
            remarks = self._remarks(exhibit, generation)
            marker = Marker(case.completion, exhibit, self.options, case.imitated, vote=index)
            marks += marker.mark_steps(remarks) if self.grammar.by_step else marker.mark_quotes(remarks)
        return tuple(marks)

    def _anywhere(
        self, case: Case, said: Generation, index: int
    ) -> tuple[tuple[MarkedSpan, ...], TokenValues]:
        """By the released code's substring test, which knows no places."""
        if self.mode is Mode.COMPAT:
            released = RELEASED[self.reply](said.text)
            remarks = released.remarks
        else:
            remarks = self._remarks(case.exhibits[0], said)
            released = Released.of(remarks)
        marker = Marker(case.completion, case.exhibits[0], self.options, case.imitated, vote=index)
        return marker.mark_nowhere(remarks, Match.SUBSTRING), self.released_values(case.completion, released)

    def _remarks(self, exhibit: Exhibit, said: Generation) -> tuple[Remark, ...]:
        if self.mode is Mode.COMPAT:
            return RELEASED[self.reply](said.text).remarks
        cut = said.finish is FinishReason.LENGTH
        reading = self.grammar.read(Reply(said.text, cut, len(exhibit.steps)))
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


def _sentences(text: str) -> tuple[Span, ...]:
    """The sentences of a text; what speaks the language of a reply, in whatever grammar, is cut off from them."""
    foreign = [*reserved_phrases(text)]
    for grammar in GRAMMARS.values():
        foreign += imitated_spans(grammar.imitations, text)
    return sentence_spans(text, cuts=(edge for span in foreign for edge in (span.start, span.end)))


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
