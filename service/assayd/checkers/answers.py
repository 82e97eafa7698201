r"""Finds the final answer of a solution: behind ``The answer is``, ``####`` or ``A:``, or in ``\boxed{}``."""

import re
from collections import deque
from typing import Final

_MARKED: Final = re.compile(
    r"(?:\bthe\s+(?:final\s+)?answer\s+is\b|####|^[ \t>*]*(?:A|Answer)[ \t*]*:)(?P<answer>[^\n\r]*)",
    re.IGNORECASE | re.MULTILINE,
)
_BOXED: Final = re.compile(r"\\(?:boxed|fbox)\s*\{")
_LEAD: Final = re.compile(r"^(?:\s|[:=*])+")
LONGEST_BARE_CHARACTERS: Final = 80


def final_answer(text: str) -> str | None:
    """The last answer that a text states, bare: no colon before it, no full stop behind it.

    A single short line that states none is itself the answer. None where there is nothing of the kind.
    """
    marked, boxed = _last(_MARKED, text), _last(_BOXED, text)
    if boxed is not None and (marked is None or boxed.start() > marked.start()):
        return bare(_braced(text, boxed.end()))
    if marked is not None:
        return bare(marked["answer"])
    line = text.strip()
    return bare(line) if line and "\n" not in line and len(line) <= LONGEST_BARE_CHARACTERS else None


def bare(answer: str) -> str:
    """An answer without the colon, emphasis and full stop around it."""
    answer = _LEAD.sub("", answer)
    end = len(answer)
    # A pattern would try anew from each of a million spaces that something stands behind.
    while end and (answer[end - 1].isspace() or answer[end - 1] in ".*"):
        end -= 1
    return answer[:end]


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = deque(pattern.finditer(text), maxlen=1)
    return found[0] if found else None


def _braced(text: str, start: int) -> str:
    """What stands from ``start`` to the brace that closes it, or to the end."""
    depth = 1
    for index in range(start, len(text)):
        depth += (text[index] == "{") - (text[index] == "}")
        if depth == 0:
            return text[start:index]
    return text[start:]
