"""Ranges over a completion and the one bridge between them.

A *span* counts characters (Unicode code points), a *segment* counts tokens. Both are half-open. Only an
``Alignment`` turns one into the other.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self


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
    """Ids, text and offsets of one completion contradict each other."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """Which characters each token of a completion stands for.

    ``token_spans[i]`` are the characters that hold at least one byte of token ``i``: tokens that share a
    character (an emoji split in two) both own it, and a token that decodes to nothing (a special token) has
    an empty span at its place. Starts and ends never go backwards. Characters that no token owns (whitespace
    that a WordPiece tokenizer drops) belong to the token that follows them, or to the last one.
    """

    text: str
    token_ids: tuple[int, ...] | None
    token_spans: tuple[Span, ...]

    def __post_init__(self) -> None:
        if self.token_ids is not None and len(self.token_ids) != len(self.token_spans):
            raise Unaligned(f"{len(self.token_ids)} token ids but {len(self.token_spans)} offsets")
        for index, (left, right) in enumerate(pairwise(self.token_spans)):
            if right.start < left.start or right.end < left.end:
                raise Unaligned(f"the offsets go backwards between tokens {index} and {index + 1}")
        if self.token_spans and self.token_spans[-1].end > len(self.text):
            raise Unaligned(
                f"the offsets reach character {self.token_spans[-1].end} of a text of {len(self.text)}"
            )

    def __len__(self) -> int:
        return len(self.token_spans)

    def segment_of(self, span: Span) -> Segment:
        """The fewest tokens that hold every character of ``span``; empty for an empty span or no tokens."""
        raise NotImplementedError

    def span_of(self, segment: Segment) -> Span:
        """The characters from the first to the last token of ``segment``."""
        raise NotImplementedError
