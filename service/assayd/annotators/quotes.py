"""Finds the characters that a quote of the critic means.

Quotes are to be verbatim; where they are not, a ladder of lookup copies tolerates more at every rung
(papers.md 5.2, ``fuzzy``), and the rung on which a quote was found is reported. On every rung an occurrence
that stands on word boundaries is preferred to one inside a longer word: ``art`` is the word in ``start art``.
"""

import re
from collections.abc import Callable
from typing import Final

from rapidfuzz import fuzz

from ..domain.annotation import Match
from ..domain.text import Span
from .views import View

Found = tuple[Match, tuple[Span, ...]]

EDIT_RATIO_PERCENT: Final = 80.0
_MIN_EDITED_CHARS: Final = 6  # a shorter word at four letters in five is another word: yells, bells
_DIGITS: Final = re.compile(r"\d+")
_ELLIPSIS: Final = re.compile(r"…|\.\.\.")
_NOWHERE: Final[Found] = (Match.NOT_FOUND, ())
_RUNGS: Final[tuple[tuple[Match, Callable[[View], View]], ...]] = (
    (Match.EXACT, lambda view: view),
    (Match.CASE, View.folded_case),
    (Match.WHITESPACE, View.folded_spacing),
    (Match.UNICODE, View.folded_unicode),
)


class Haystack:
    """A text as the critic saw it, in which quotes are found; spans are those of the original text."""

    def __init__(self, shown: View, *, fuzzy: bool = False, ellipsis: bool = False) -> None:
        self._fuzzy = fuzzy
        self._ellipsis = ellipsis
        self._rungs = _RUNGS if fuzzy else _RUNGS[:1]
        self._views = [shown]
        self._found: dict[str, Found] = {}

    def find(self, quote: str) -> Found:
        """Where the quote occurs, left to right, on the first rung that has it; else ``NOT_FOUND``."""
        if quote not in self._found:
            self._found[quote] = self._search(quote)
        return self._found[quote]

    def _search(self, quote: str) -> Found:
        for level, (match, _) in enumerate(self._rungs):
            if places := _on_words(self._view(level), self._folded(quote, level)):
                return match, self._origins(level, places)
        if self._ellipsis and (between := self._between(quote)):
            return Match.ELLIPSIS, (between,)
        top = len(self._rungs) - 1
        if self._fuzzy and (place := _nearest(self._view(top), self._folded(quote, top))):
            return Match.EDIT, self._origins(top, [place])
        return _NOWHERE

    def _view(self, level: int) -> View:
        while len(self._views) <= level:
            fold = self._rungs[len(self._views)][1]
            self._views.append(fold(self._views[-1]))
        return self._views[level]

    def _folded(self, quote: str, level: int) -> str:
        view = View.of(quote)
        for _, fold in self._rungs[1 : level + 1]:
            view = fold(view)
        return view.text.strip()

    def _origins(self, level: int, places: list[tuple[int, int]]) -> tuple[Span, ...]:
        view = self._view(level)
        return tuple(view.origin(start, end) for start, end in places)

    def _between(self, quote: str) -> Span | None:
        """From the first anchor of ``a … b`` to the nearest second one behind it."""
        anchors = [anchor.strip() for anchor in _ELLIPSIS.split(quote)]
        if len(anchors) != 2 or not all(anchors):
            return None
        (_, lefts), (_, rights) = (self.find(anchor) for anchor in anchors)
        ends = [right.end for right in rights if lefts and right.start >= lefts[0].end]
        return Span(lefts[0].start, ends[0]) if ends else None


def _on_words(view: View, needle: str) -> list[tuple[int, int]]:
    """Every occurrence of ``needle`` that stands on word boundaries; failing that, every occurrence."""
    places, start = [], view.text.find(needle) if needle else -1
    while start >= 0:
        places.append((start, start + len(needle)))
        start = view.text.find(needle, start + 1)
    whole = [place for place in places if not (_inside(view.text, place[0]) or _inside(view.text, place[1]))]
    return whole or places


def _inside(text: str, at: int) -> bool:
    """Whether position ``at`` parts two characters of one word."""
    return 0 < at < len(text) and _is_word(text[at - 1]) and _is_word(text[at])


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _nearest(view: View, needle: str) -> tuple[int, int] | None:
    """The words of the text nearest to ``needle`` by edit ratio, if near enough and with the same numbers."""
    text = view.text
    if len(needle) < _MIN_EDITED_CHARS:
        return None
    near = fuzz.partial_ratio_alignment(needle, text, score_cutoff=EDIT_RATIO_PERCENT)
    if near is None:
        return None
    start, end = near.dest_start, near.dest_end
    while _inside(text, start):
        start -= 1
    while _inside(text, end):
        end += 1
    same_numbers = _DIGITS.findall(text[start:end]) == _DIGITS.findall(needle)
    close = fuzz.ratio(needle, text[start:end]) >= EDIT_RATIO_PERCENT
    return (start, end) if start < end and same_numbers and close else None
