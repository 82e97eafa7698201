"""Texts written twice and more, for a model to learn the one skill that a correction is made of: to copy."""

from collections.abc import Iterator, Sequence
from random import Random

from .items import Split
from .jumble import jumble
from .problems import LARGEST
from .words import OBJECTS

SHORTEST, LONGEST = 3, 20
ROOM_PIECES = 64


def repeats(seed: int | str, pieces: Sequence[str]) -> Iterator[tuple[str, int]]:
    """A few random pieces in a row, and how often they are to be repeated: 64 pieces or more in all.

    Nothing about such a text can be guessed but that it goes on as it did, so this is what is learned. The length
    differs from text to text: one of a fixed length could be copied by the place.
    """
    random = Random(f"repeats {seed}")
    while True:
        length = random.randint(SHORTEST, LONGEST)
        yield "".join(random.choices(pieces, k=length)), -(-ROOM_PIECES // length)


def jumbles(seed: int | str, lines: tuple[int, int]) -> Iterator[str]:
    """Lines of random words with numbers among them; the words of some are all common ones, of others all made up."""
    random = Random(f"jumbles {seed} {lines}")
    while True:
        strange = random.choice((0.0, 0.3, 0.6, 1.0))
        yield "\n".join(_line(random, strange) for _ in range(random.randint(*lines)))


def _line(random: Random, strange: float) -> str:
    count = random.choice((0, 0, 1, 1, 2, 3))
    numbers = [str(random.randint(1, LARGEST)) for _ in range(count)]
    return jumble(random, OBJECTS[Split.TRAIN], numbers, strange=strange)
