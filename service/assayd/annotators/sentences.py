"""Cuts a completion into sentences, so that each can be laid before the critic alone."""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from ..domain.text import Span

MAX_SENTENCES: Final = 64
_STOP: Final = r"[.!?\u2026\u3002\uff01\uff1f]"
# From each place within a row of stops the pattern would read to its end again.
_END: Final = re.compile(rf"(?<!{_STOP}){_STOP}++[\"')\]\u201d\u2019]*+(?=\s|$)|[\n\r\u2028\u2029]+")


def sentence_spans(text: str, *, cuts: Iterable[int] = ()) -> tuple[Span, ...]:
    """The sentences that hold more than whitespace, cut at ``cuts`` too.

    What comes after ``MAX_SENTENCES`` - 1 of them is the last one, whole. Whitespace between sentences belongs
    to none. A text without any sentence is one, whole.
    """
    edges = sorted({0, *(match.end() for match in _END.finditer(text)), *cuts, len(text)})
    pieces = [Span(start, end) for start, end in pairwise(edges) if text[start:end].strip()]
    spans = [_trimmed(text, piece) for piece in pieces]
    if len(spans) > MAX_SENTENCES:
        spans[MAX_SENTENCES - 1 :] = [Span(spans[MAX_SENTENCES - 1].start, spans[-1].end)]
    return tuple(spans) or (Span(0, len(text)),)


def _trimmed(text: str, span: Span) -> Span:
    inside = span.of(text)
    return Span(span.start + len(inside) - len(inside.lstrip()), span.start + len(inside.rstrip()))
