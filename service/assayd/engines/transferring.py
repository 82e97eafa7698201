"""Brings values from the tokens of one tokenizer to those of another, over the characters that both stand for.

papers.md 5.7, of no paper: label what comes of it experimental. A character in a gap belongs to the next token, as
in ``Alignment``.
"""

from collections.abc import Sequence

from ..domain.text import Alignment, Span


def last_tokens(source: Alignment, target: Alignment) -> list[int]:
    """For each token of ``source`` the token of ``target`` that holds its last character.

    Where several hold it, the last one: only then is the character complete. A token without characters takes
    what the one before it has, -1 at the very start.
    """
    places: list[int] = []
    before = -1
    for span in source.token_spans:
        if span:
            before = target.segment_of(Span(span.end - 1, span.end)).end - 1
        places.append(before)
    return places


def split(values: Sequence[float], source: Alignment, target: Alignment) -> list[float]:
    """Each value of ``source`` shared out by characters; the sum stays the same.

    A character that several tokens of ``target`` hold is shared by them evenly. The value of a token without
    characters goes to the token at its place.
    """
    shares = [0.0] * len(target)
    for value, span in zip(values, source.token_spans, strict=True):
        for place, share in _owners(span, target):
            shares[place] += value * share
    return shares


def averaged(values: Sequence[float], source: Alignment, target: Alignment) -> list[float]:
    """For each token of ``target`` the mean over its characters of what ``source`` says of them.

    A character that several tokens of ``source`` hold has their mean. A token without characters takes the value at
    its place.
    """
    return [
        sum(values[place] * share for place, share in _owners(span, source)) for span in target.token_spans
    ]


def highest(values: Sequence[float], source: Alignment, target: Alignment) -> list[float]:
    """For each token of ``target`` the highest value among the tokens of ``source`` that end in it, 0 where none.

    One that ends in a character of several tokens counts for the first of them.
    """
    found: dict[int, float] = {}
    for value, span in zip(values, source.token_spans, strict=True):
        if span:
            place = target.segment_of(Span(span.end - 1, span.end)).start
            found[place] = max(value, found.get(place, value))
    return [found.get(place, 0.0) for place in range(len(target))]


def _owners(span: Span, target: Alignment) -> list[tuple[int, float]]:
    """The tokens of ``target`` that ``span`` falls to, and the share of each, 1 in all."""
    segment = target.segment_of(span or _at(span.start, target))
    if len(segment) <= 1:
        return [(place, 1.0) for place in range(segment.start, segment.end)]
    owners: list[tuple[int, float]] = []
    for start in range(span.start, span.end):
        held = target.segment_of(Span(start, start + 1))
        holders = [place for place in range(held.start, held.end) if target.token_spans[place]] or [
            held.start
        ]
        owners += [(place, 1 / (len(span) * len(holders))) for place in holders]
    return owners


def _at(place: int, target: Alignment) -> Span:
    """The character at a place, or the last one."""
    start = max(0, min(place, len(target.text) - 1))
    return Span(start, min(start + 1, len(target.text)))
