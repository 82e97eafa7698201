r"""Finds the final answer of a solution: behind ``The answer is``, ``####`` or ``A:``, or in ``\boxed{}``."""

import re
from typing import Final

_MARKED: Final = re.compile(
    r"(?:\bthe\s+(?:final\s+)?answer\s+is\b|####|^[ \t>*]*(?:A|Answer)[ \t*]*:)(?P<answer>[^\n\r]*)",
    re.IGNORECASE | re.MULTILINE,
)
_BOXED: Final = re.compile(r"\\(?:boxed|fbox)\s*\{")
_LEAD: Final = re.compile(r"^(?:\s|[:=*])+")
LONGEST_BARE_CHARACTERS: Final = 80
_END: Final = re.compile(r"[\s.*]+$")


def final_answer(text: str) -> str | None:
    """The last answer that a text states, bare: no colon before it, no full stop behind it.

    A single short line that states none is itself the answer. None where there is nothing of the kind.
    """
    found = [(match.start(), match["answer"]) for match in _MARKED.finditer(text)]
    found += [(match.start(), _braced(text, match.end())) for match in _BOXED.finditer(text)]
    if found:
        return bare(max(found)[1])
    line = text.strip()
    return bare(line) if line and "\n" not in line and len(line) <= LONGEST_BARE_CHARACTERS else None


def bare(answer: str) -> str:
    """An answer without the colon, emphasis and full stop around it."""
    return _END.sub("", _LEAD.sub("", answer))


def _braced(text: str, start: int) -> str:
    """What stands from ``start`` to the brace that closes it, or to the end."""
    depth = 1
    for index in range(start, len(text)):
        depth += (text[index] == "{") - (text[index] == "}")
        if depth == 0:
            return text[start:index]
    return text[start:]
