"""How far a text follows its prompt, spaces apart: in few steps where they are alike, which is nearly everywhere."""

import re
from typing import Final

_NO_SPACE: Final = re.compile(r"\S")


def followed(text: str, prompt: str, place: int) -> tuple[int, int]:
    """Where they part, in ``text`` from ``place`` on and in ``prompt``; the end of ``prompt`` where they never do.

    Whitespace that only one of them has is passed over.
    """
    start = spaces_end = 0
    while True:
        alike = _alike(text, place, prompt, start)
        place, start = place + alike, start + alike
        if start == len(prompt):
            return place, start
        here = text[place : place + 1]
        if prompt[start].isspace():
            # Looked for once a run, however many of its characters are passed over one by one.
            spaces_end = spaces_end if start < spaces_end else _end_of_spaces(prompt, start)
            again = prompt.find(here, start, spaces_end) if here else -1
            start = spaces_end if again < 0 else again
        elif here.isspace():
            place = _end_of_spaces(text, place)
        else:
            return place, start


def _alike(text: str, place: int, prompt: str, start: int) -> int:
    """How many characters are the same from there on."""
    most = min(len(text) - place, len(prompt) - start)
    length, step = 0, 1
    while step:
        ends = length + step
        if ends <= most and text[place + length : place + ends] == prompt[start + length : start + ends]:
            length, step = ends, 2 * step
        else:
            step //= 2
    return length


def _end_of_spaces(text: str, start: int) -> int:
    found = _NO_SPACE.search(text, start)
    return len(text) if found is None else found.start()
