"""Tells a rewriter what the critic remarked, where there is no reference to rewrite by."""

from collections.abc import Sequence

from ...domain.annotation import MarkedSpan, Polarity, TokenAnnotation


def faults_of(annotation: TokenAnnotation) -> tuple[MarkedSpan, ...]:
    """The remarks that fault a place of the completion, in the order of the text."""
    placed = [
        mark for mark in annotation.spans if mark.polarity is Polarity.NEGATIVE and mark.span is not None
    ]
    return tuple(sorted(placed, key=lambda mark: (mark.span.start, mark.vote) if mark.span else (0, 0)))


def told(marks: Sequence[MarkedSpan]) -> str:
    """One line for each remark: the words it is about, what it is called, and why."""
    return "\n".join(dict.fromkeys(_line(mark) for mark in marks))


def _line(mark: MarkedSpan) -> str:
    quote = " ".join(mark.text.split())
    reason = f": {' '.join(mark.reason.split())}" if mark.reason else ""
    return f'- "{quote}" ({mark.label}){reason}'
