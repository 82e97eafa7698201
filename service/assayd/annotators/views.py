"""Lookup copies of a text that remember where each of their characters came from.

A completion is never changed before matching (papers.md 5.1, rule 2): it is folded in a copy, and whatever is
found in the copy is carried back to the original characters.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ..domain.text import Span

_WHITESPACE: Final = re.compile(r"\s+")
_ANY: Final = re.compile(r"(?s).")
_QUOTE_MARKS: Final = re.compile(r"[“”„‟«»″‘’‚‛`´′‐‑‒–—−…]")
_STRAIGHT: Final = (
    dict.fromkeys("“”„‟«»″", '"') | dict.fromkeys("‘’‚‛`´′", "'") | dict.fromkeys("‐‑‒–—−", "-")
)
_INVISIBLE: Final = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")


@dataclass(frozen=True, slots=True)
class View:
    """A copy of a text whose character ``i`` stands for ``[starts[i], ends[i])`` of the original."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    @classmethod
    def of(cls, text: str, part: Span | None = None) -> "View":
        """The view of ``text``, or of one ``part`` of it, that changes nothing."""
        part = part or Span(0, len(text))
        return cls(part.of(text), range(part.start, part.end), range(part.start + 1, part.end + 1))

    def origin(self, start: int, end: int) -> Span:
        """The original characters behind ``[start, end)`` of this view, which must not be empty."""
        return Span(self.starts[start], self.ends[end - 1])

    def rewrite(self, pattern: re.Pattern[str], new: Callable[[str], str]) -> "View":
        """The view in which every match of ``pattern`` reads ``new(match)``; a match may be empty."""
        return self._edited(
            (match.start(), match.end(), new(match[0])) for match in pattern.finditer(self.text)
        )

    def _edited(self, edits: Iterable[tuple[int, int, str]]) -> "View":
        text: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        kept = 0
        for start, end, new in edits:
            text += self.text[kept:start], new
            first = self.starts[start]
            last = self.ends[end - 1] if end > start else first
            starts += [*self.starts[kept:start], *[first] * len(new)]
            ends += [*self.ends[kept:start], *[last] * len(new)]
            kept = end
        if not text:
            return self
        return View(
            "".join(text) + self.text[kept:], starts + list(self.starts[kept:]), ends + list(self.ends[kept:])
        )

    def folded_case(self) -> "View":
        """Without differences of case."""
        folded = self.text.casefold()
        # casefold never drops a character, so equal lengths mean one for one
        if len(folded) == len(self.text):
            return View(folded, self.starts, self.ends)
        return self.rewrite(_ANY, str.casefold)

    def folded_spacing(self) -> "View":
        """Runs of whitespace as one space, curly quotes straight, dashes short, an ellipsis as three dots."""
        spaced = self.rewrite(_WHITESPACE, lambda _: " ")
        return spaced.rewrite(_QUOTE_MARKS, lambda mark: _STRAIGHT.get(mark, "..."))

    def folded_unicode(self) -> "View":
        """Composed as in NFC, and without invisible characters."""
        visible = self.rewrite(_INVISIBLE, lambda _: "")
        if unicodedata.is_normalized("NFC", visible.text):
            return visible
        return visible._edited(
            (start, end, unicodedata.normalize("NFC", visible.text[start:end]))
            for start, end in _clusters(visible.text)
        )


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Runs of one base character and what may compose with it: marks, and Hangul vowels and finals."""
    start = 0
    for index in range(1, len(text) + 1):
        if index == len(text) or not _composes(text[index]):
            if index - start > 1 or not unicodedata.is_normalized("NFC", text[start]):
                yield start, index
            start = index


def _composes(character: str) -> bool:
    return unicodedata.category(character).startswith("M") or "\u1160" <= character <= "\u11ff"
