"""Ranges over a completion and the one bridge between them.

A *span* counts characters (Unicode code points), a *segment* counts tokens. Both are half-open. Only an
``Alignment`` turns one into the other.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self
from unicodedata import category


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Characters ``[start, end)`` of a completion's text."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"a span needs 0 <= start <= end, got [{self.start}, {self.end})")

    def __len__(self) -> int:
        return self.end - self.start

    def overlap(self, other: Self) -> int:
        """How many characters both spans hold."""
        return max(0, min(self.end, other.end) - max(self.start, other.start))

    def of(self, text: str) -> str:
        """The characters of ``text`` that this span covers."""
        return text[self.start : self.end]


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """Tokens ``[start, end)`` of a completion."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"a segment needs 0 <= start <= end, got [{self.start}, {self.end})")

    def __len__(self) -> int:
        return self.end - self.start


class Unaligned(ValueError):
    """Ids, text and offsets of one completion contradict each other. The message says where."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """Which characters each token of a completion stands for.

    ``token_spans[i]`` are the characters that hold at least one byte of token ``i``. Tokens that share a
    character (an emoji split in two) both own it. A token that stands for no text (a special token) is
    *empty*: its span has no characters and marks its place. Starts never go backwards, nor do the ends of
    tokens that are not empty. Characters that no token owns (whitespace that a WordPiece tokenizer drops) are
    a *gap*: they belong to the next token that is not empty, or to the last one at the end of the text.

    Raises ``Unaligned`` when this does not hold, and for a text that is not valid Unicode.
    """

    text: str
    token_ids: tuple[int, ...] | None
    token_spans: tuple[Span, ...]
    # The tokens that are not empty, and where they start and end: columns to bisect.
    _owners: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _starts: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _ends: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        refuse_surrogates(self.text)
        if self.token_ids is not None and len(self.token_ids) != len(self.token_spans):
            raise Unaligned(f"{len(self.token_ids)} token ids but {len(self.token_spans)} offsets")
        furthest_start = furthest_end = 0
        for index, span in enumerate(self.token_spans):
            if span.start < furthest_start or (span and span.end < furthest_end):
                raise Unaligned(f"the offsets go backwards between tokens {index - 1} and {index}")
            _refuse_beyond(self.text, index, span.end)
            furthest_start, furthest_end = span.start, max(furthest_end, span.end)
        owners = tuple(index for index, span in enumerate(self.token_spans) if span)
        object.__setattr__(self, "_owners", owners)
        object.__setattr__(self, "_starts", tuple(self.token_spans[index].start for index in owners))
        object.__setattr__(self, "_ends", tuple(self.token_spans[index].end for index in owners))

    @classmethod
    def from_offsets(
        cls,
        text: str,
        offsets: Sequence[tuple[int, int]],
        token_ids: Sequence[int] | None = None,
    ) -> Self:
        """Trust offsets that someone else made, once they are seen to account for the whole text.

        Tokens may leave out what has no ink of its own (whitespace, control characters, marks), because
        tokenizers trim and drop those; leaving out anything else raises ``Unaligned``. ``(0, 0)``, which is
        how Hugging Face marks a token without text wherever it stands, becomes an empty span at its place.
        """
        reached = 0
        for index, (start, end) in enumerate(offsets):
            if not 0 <= start <= end:
                raise Unaligned(f"token {index} has offsets [{start}, {end}): they need 0 <= start <= end")
            # Before they are places: no length goes beyond 63 bits.
            _refuse_beyond(text, index, end)
            if start < end:
                _refuse_skipped(text, reached, start, f"before token {index}")
                reached = max(reached, end)
        spans: list[Span] = []
        place = len(text)
        for start, end in reversed(offsets):
            spans.append(Span(start, end) if end else Span(place, place))
            place = spans[-1].start
        ids = None if token_ids is None else tuple(token_ids)
        alignment = cls(text, ids, tuple(reversed(spans)))
        _refuse_skipped(text, reached, len(text), "after the last token")
        return alignment

    def __len__(self) -> int:
        return len(self.token_spans)

    def segment_of(self, span: Span) -> Segment:
        """All tokens that hold a character of ``span``, gaps included: from the first to the last of them.

        It neither begins nor ends with an empty token, though it may run across some. Empty for an empty
        span, and where every token is empty. Raises ``ValueError`` for a span that reaches beyond the text.
        """
        if span.end > len(self.text):
            raise ValueError(f"[{span.start}, {span.end}) reaches beyond a text of {len(self.text)}")
        if not self._owners:
            return Segment(0, 0)
        final = len(self._owners) - 1
        first = min(bisect_right(self._ends, span.start), final)
        if not span:
            return Segment(self._owners[first], self._owners[first])
        last = bisect_left(self._starts, span.end) - 1
        if last < 0 or self._ends[last] < span.end:
            last = min(last + 1, final)
        return Segment(self._owners[first], self._owners[last] + 1)

    def span_of(self, segment: Segment) -> Span:
        """The characters from the first to the last token of ``segment``, gaps between them included.

        Empty, at its place, for a segment without tokens or of empty tokens only. Raises ``ValueError`` for a
        segment that reaches beyond the tokens.
        """
        if segment.end > len(self):
            raise ValueError(f"tokens [{segment.start}, {segment.end}) reach beyond {len(self)} tokens")
        first = bisect_left(self._owners, segment.start)
        last = bisect_left(self._owners, segment.end) - 1
        if first <= last:
            return Span(self._starts[first], self._ends[last])
        place = self.token_spans[segment.start].start if segment.start < len(self) else len(self.text)
        return Span(place, place)


def refuse_surrogates(text: str) -> None:
    r"""Raise ``Unaligned`` for half of a UTF-16 pair (JSON can smuggle in ``\ud83d``): it is no character."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Unaligned(
            f"character {error.start} of the text is the lone surrogate U+{ord(text[error.start]):04X}: "
            "send whole characters"
        ) from None


def _refuse_beyond(text: str, index: int, end: int) -> None:
    if end > len(text):
        raise Unaligned(
            f"token {index} ends at character {end} of a text of {len(text)} "
            "(offsets count Unicode code points, not bytes or UTF-16 units)"
        )


def _refuse_skipped(text: str, start: int, end: int, where: str) -> None:
    for index in range(start, min(end, len(text))):
        if not _inkless(text[index]):
            raise Unaligned(f"no token covers character {index}, {text[index]!r}, {where}")


def _inkless(character: str) -> bool:
    """Whether tokenizers may drop it: whitespace, control and format characters, combining marks, U+FFFD."""
    return character.isspace() or character == "\N{REPLACEMENT CHARACTER}" or category(character)[0] in "CM"
