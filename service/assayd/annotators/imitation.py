"""Recognises completions that speak the critic's language, so that they cannot speak for the critic.

A policy under reinforcement may learn to write what a gullible critic repeats. Two rules take the gain away,
whatever the critic says: imitated characters never earn (``scoring``), and a completion that imitates counts
as judged only when the critique faults something of it outside of the imitation (``judging``).
"""

import re
from bisect import bisect_right
from collections.abc import Callable
from typing import Final

from ..domain.text import Span
from .views import View

_NONE: Final = r"(?i:^[^\w\n]*none[^\w\n]*$|\bnone identified\b[^\w\n]*$)"
_TOXIC: Final = re.compile(rf"(?i:\bToxic Span \d+ *:).*|{_NONE}", re.MULTILINE)
_SUMMARY: Final = re.compile(rf"(?i:\bSpan \d+ *:|\(Label:).*|{_NONE}", re.MULTILINE)
_SENTIMENT: Final = re.compile(
    rf"(?i:\bIdentified (?:Positive|Negative) Text Spans? *:|\[Span \d+\]).*|{_NONE}", re.MULTILINE
)
_RESERVED: Final = re.compile(
    r"None identified|Toxic Span \d+ *:|Identified (?:Positive|Negative) Text Spans? *:|\[?\bSpan \d+\]? *:",
    re.IGNORECASE,
)
_STEP: Final = re.compile(r"\[\d+\]")
_VERDICT: Final = re.compile(r"\|[ \t*]*(?:correct|wrong|incorrect)\b", re.IGNORECASE)


def toxicity(text: str) -> tuple[Span, ...]:
    """Span lines and the words of a clean verdict."""
    return _matches(_TOXIC, text)


def summarization(text: str) -> tuple[Span, ...]:
    """Span lines, labels and the words of a clean verdict."""
    return _matches(_SUMMARY, text)


def sentiment(text: str) -> tuple[Span, ...]:
    """Section headers, span lines and the words of a clean verdict."""
    return _matches(_SENTIMENT, text)


def steps(text: str) -> tuple[Span, ...]:
    """Lines with a step number and, behind it, a verdict."""
    spans, start = [], 0
    for line in text.splitlines(keepends=True):
        number = _STEP.search(line)
        if number and _VERDICT.search(line, number.end()):
            spans.append(Span(start + number.start(), start + len(line.rstrip())))
        start += len(line)
    return tuple(spans)


def imitated_spans(imitations: Callable[[str], tuple[Span, ...]], text: str) -> tuple[Span, ...]:
    """What ``imitations`` finds in a text, invisible characters notwithstanding, as ``widened`` spans."""
    view = View.of(text).folded_unicode()
    return widened(tuple(view.origin(span.start, span.end) for span in imitations(view.text)), text)


def widened(spans: tuple[Span, ...], text: str) -> tuple[Span, ...]:
    """Imitations with the whitespace around them; those that then touch are one."""
    found: list[Span] = []
    for span in spans:
        start, end = span.start, span.end
        while start > 0 and text[start - 1].isspace():
            start -= 1
        while end < len(text) and text[end].isspace():
            end += 1
        if found and found[-1].end >= start:
            start = found.pop().start
        found.append(Span(start, end))
    return tuple(found)


def reserved_phrases(text: str) -> tuple[Span, ...]:
    """The fixed words of the paper's grammars, wherever they stand and whatever follows them."""
    return _matches(_RESERVED, text)


def outside(spans: tuple[Span, ...], imitated: tuple[Span, ...]) -> tuple[Span, ...]:
    """Those of ``spans`` that lie in no imitation; ``imitated`` as ``widened`` leaves them."""
    starts = [other.start for other in imitated]

    def imitates(span: Span) -> bool:
        before = bisect_right(starts, span.start)
        return before > 0 and span.end <= imitated[before - 1].end

    return tuple(span for span in spans if not imitates(span))


def _matches(pattern: re.Pattern[str], text: str) -> tuple[Span, ...]:
    return tuple(Span(*match.span()) for match in pattern.finditer(text))
