"""The steps of a solution, with labels for the model and byte for byte for the rewrite.

A step is a piece between two separators, which it keeps; blank lines are steps too, so labels are line numbers.
"""

import re
from collections.abc import Sequence
from typing import Final

from ...domain.text import Span
from ..prompting import defang

_BREAKS: Final = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")


def split_steps(text: str, separator: str) -> tuple[Span, ...]:
    """Every step with the separator behind it; joined they are ``text``. None in an empty text."""
    spans, start = [], 0
    while start < len(text):
        found = text.find(separator, start)
        end = len(text) if found < 0 else found + len(separator)
        spans.append(Span(start, end))
        start = end
    return tuple(spans)


def labelled(text: str, separator: str, base: int) -> str:
    """The steps as they are shown: ``[0] ...`` to a line. Nothing but our labels begins a line."""
    steps = (span.of(text).removesuffix(separator) for span in split_steps(text, separator))
    return "\n".join(f"[{base + index}] {_one_line(step)}" for index, step in enumerate(steps))


def step_at(steps: Sequence[Span], place: int) -> int | None:
    """The index of the step that holds the character at ``place``; at the very end the last one's."""
    holding = [index for index, span in enumerate(steps) if span.start <= place]
    return holding[-1] if holding else None


def released_prefix(text: str, step: int) -> str:
    """What the released code puts before the rewrite: stripped lines, each with a line break behind it.

    Indentation is lost, and an error in line 0 leaves a line break of its own. ``step`` -1, which stands for
    "correct", keeps all lines but the last (papers.md 3.1).
    """
    lines = text.split("\n")
    return "\n".join(line.strip() for line in lines[:step]) + "\n"


def _one_line(step: str) -> str:
    return defang(_BREAKS.sub(" ", step.strip("\r\n")))
