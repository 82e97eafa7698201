"""Places the remarks of one critique in the completion: remarks in, marked spans out."""

from collections import Counter
from collections.abc import Iterator, Sequence

from ..domain.annotation import MarkedSpan, Match, Polarity, Remark
from ..domain.rollout import Completion
from ..domain.text import Span
from .exhibit import Exhibit
from .imitation import outside
from .options import Layout, Occurrence, Settled
from .quotes import Found, Haystack
from .steps import FOLLOWS, WRONG
from .views import View


class Marker:
    """Places quotes of one critique, in its order; it remembers which occurrences are taken."""

    def __init__(
        self,
        completion: Completion,
        exhibit: Exhibit,
        options: Settled,
        imitated: tuple[Span, ...],
        *,
        vote: int = 0,
    ) -> None:
        self._alignment = completion.alignment
        self._exhibit = exhibit
        self._options = options
        self._imitated = imitated
        self._vote = vote
        self._text = self._haystack(exhibit.completion)
        self._joined = self._haystack(View.of(exhibit.prompt.text + exhibit.completion.text))
        self._taken: Counter[tuple[Span, ...]] = Counter()

    def mark_quotes(self, remarks: Sequence[Remark]) -> tuple[MarkedSpan, ...]:
        """Every remark once, or once per occurrence; beyond ``max_spans`` they are ``OVER_LIMIT``."""
        marks: list[MarkedSpan] = []
        room = self._options.max_spans
        for remark in remarks:
            match, spans = self._place(remark) if room else (Match.OVER_LIMIT, ())
            placed = spans[:room]
            room -= len(placed)
            marks += [self._mark(remark, match, span) for span in placed or (None,)]
        return tuple(marks)

    def mark_steps(self, remarks: Sequence[Remark]) -> tuple[MarkedSpan, ...]:
        """The first wrong step by its claim or whole, every later one, and correct ones where they earn."""
        return tuple(self._step_marks(remarks))

    def mark_nowhere(self, remarks: Sequence[Remark], match: Match) -> tuple[MarkedSpan, ...]:
        """The remarks as reported by a way of matching that knows no places."""
        return tuple(self._mark(remark, match, None) for remark in remarks)

    def _step_marks(self, remarks: Sequence[Remark]) -> Iterator[MarkedSpan]:
        steps = self._exhibit.steps
        for remark in remarks:
            if remark.step is None or (remark.polarity is Polarity.POSITIVE and not self._reward(remark)):
                continue
            match, spans = self._place_in_step(remark, steps[remark.step])
            yield self._mark(remark, match, spans[0] if spans else None)
            if remark.label == WRONG:
                yield from self._following(steps[remark.step + 1 :])

    def _following(self, steps: Sequence[View]) -> Iterator[MarkedSpan]:
        """Each of these steps; what is beyond ``max_spans`` of them as one span to the end."""
        spans = [_words_of(step) for step in steps]
        limit = self._options.max_spans - 1
        rest = [Span(spans[limit].start, spans[-1].end)] if len(spans) > limit else []
        for span in (*spans[:limit], *rest):
            yield self._mark(Remark("", FOLLOWS), Match.STEP, span)

    def _place_in_step(self, remark: Remark, step: View) -> Found:
        match, spans = (
            self._haystack(step).find(remark.quote) if remark.label == WRONG else (Match.NOT_FOUND, ())
        )
        if not spans:
            match, spans = Match.STEP, (_words_of(step),)
        if remark.polarity is Polarity.POSITIVE and not outside(spans, self._imitated):
            return Match.IMITATION, ()
        return match, spans[:1]

    def _place(self, remark: Remark) -> Found:
        match, spans = self._text.find(remark.quote)
        if not spans:
            return self._place_in_prompt(remark.quote)
        genuine = outside(spans, self._imitated)
        if not genuine and remark.polarity is Polarity.POSITIVE:
            return Match.IMITATION, ()
        return match, self._choose(genuine or spans)

    def _choose(self, spans: tuple[Span, ...]) -> tuple[Span, ...]:
        """The occurrences that a quote means (papers.md 5.2, ``occurrence``)."""
        copies = self._taken[spans]
        self._taken[spans] += 1
        match self._options.occurrence:
            case Occurrence.ALL:
                return spans
            case Occurrence.NEXT if copies < len(spans):
                return spans[copies : copies + 1]
            case _:
                return spans[:1]

    def _place_in_prompt(self, quote: str) -> Found:
        """A quote that crosses into the completion is clipped; one of the prompt alone is dropped."""
        edge = len(self._exhibit.prompt.text)
        match, spans = self._joined.find(quote) if edge else (Match.NOT_FOUND, ())
        crossing = [span.end - edge for span in spans if span.end > edge]
        if crossing and self._options.text_to_critic is Layout.QUERY_RESPONSE:
            return match, (self._exhibit.completion.origin(0, crossing[0]),)
        return (Match.IN_PROMPT if spans else Match.NOT_FOUND), ()

    def _mark(self, remark: Remark, match: Match, span: Span | None) -> MarkedSpan:
        counts = match.found and (span is not None or match is Match.SUBSTRING)
        return MarkedSpan(
            text=remark.quote or (span.of(self._alignment.text) if span else ""),
            label=remark.label,
            reward=self._reward(remark) if counts else 0.0,
            match=match,
            span=span,
            segment=None if span is None else self._alignment.segment_of(span),
            reason=remark.reason,
            polarity=remark.polarity,
            vote=self._vote,
        )

    def _reward(self, remark: Remark) -> float:
        options = self._options
        base = options.positive_reward if remark.polarity is Polarity.POSITIVE else options.negative_reward
        return base * options.label_weights.get(remark.label.casefold(), 1.0) * remark.severity + 0.0

    def _haystack(self, view: View) -> Haystack:
        return Haystack(view, fuzzy=self._options.fuzzy, ellipsis=self._options.ellipsis)


def _words_of(step: View) -> Span:
    """A step without the whitespace around it."""
    text = step.text
    return step.origin(len(text) - len(text.lstrip()), len(text.rstrip()))
