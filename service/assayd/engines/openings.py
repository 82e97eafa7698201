"""The tokens that a reply begins with, when it is one of some words."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

_SPACES: Final = " \t\r\n▁ĠĊ"
"""White space, and how tokenizers spell it in their vocabularies."""


def openings(vocabulary: Mapping[str, int], words: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """The tokens that are each word, whatever its case and the space before it.

    Where a vocabulary does not hold a word, the tokens that begin it and none of the others.
    """
    bare = [(token.strip(_SPACES).casefold(), id_) for token, id_ in vocabulary.items()]
    wanted = [word.casefold() for word in words]

    def opening(word: str) -> tuple[int, ...]:
        whole = tuple(sorted(id_ for text, id_ in bare if text == word))
        others = [other for other in wanted if other != word]
        begun = (
            id_
            for text, id_ in bare
            if text and word.startswith(text) and not any(other.startswith(text) for other in others)
        )
        return whole or tuple(sorted(begun))

    return tuple(opening(word) for word in wanted)


class Openings:
    """The openings of one vocabulary, each looked for once. Safe to call from several threads."""

    def __init__(self, vocabulary: Callable[[], Mapping[str, int]]) -> None:
        self._vocabulary = vocabulary
        self._known: dict[tuple[str, ...], tuple[tuple[int, ...], ...]] = {}

    def __call__(self, words: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
        """Those of ``words``, see ``openings``."""
        if words not in self._known:
            self._known[words] = openings(self._vocabulary(), words)
        return self._known[words]
