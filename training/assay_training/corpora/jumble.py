"""Clauses of random words for training, so that a critic learns what to mark and not which sentences there are.

Held-out items never use them. The words are common function words and verbs, the training split's own names and
objects, and random letters.
"""

from collections.abc import Sequence
from random import Random

from .items import Split
from .words import NAMES, OBJECTS, pseudo_word

_COMMON = (
    "the the the a a an of in to was is and that this it we they had for on with at by from our her his about when "
    "after who you your are will me my i he she their there here one two some any other another each every all before "
    "behind near under over into through again soon now then later still also just yet even only well went saw took "
    "came gave made told said wrote read asked called found left kept put ran sat stood turned looked seemed appeared "
    "became walked talked played worked lived wanted needed tried used helped showed brought bought sent grew fell met "
    "would could should may might can do did does has have be been were as if or so because while during until since "
    "without between people man woman child house street city water day night week year hour morning paper door window "
    "wall hand head eye word name place thing part way side end line number group story question"
).split()
_ONSETS = ("", *"b c d f g h j k l m n p r s t v w br cl dr fl gr pl pr sh sk sp st th tr ch ph wh".split())
_CODAS = ("", "", "", "n", "r", "s", "t", "l", "m", "nd", "st", "rt", "ck", "ng", "ll")
_ENDINGS = ("", "", "", "", "s", "ed", "ing", "er", "ly", "tion", "y", "est", "ment", "al", "ness")
_LETTERS = "aaabcdeeeefghiiijklmnooopqrrsstttuuvwxyz"


def jumble(random: Random, pool: Sequence[str], slots: Sequence[str] = (), *, strange: float = 0.0) -> str:
    """Two to eight random words, a third of them from the pool, with the slots among them in their order.

    `strange` is the share of words that nobody has seen before.
    """
    words = [
        _strange_word(random) if strange and random.random() < strange else _word(random, pool)
        for _ in range(random.randint(1, 7))
    ]
    places = sorted(random.choices(range(len(words) + 1), k=len(slots)))
    for shift, (place, slot) in enumerate(zip(places, slots, strict=True)):
        words.insert(place + shift, slot)
    if random.random() < 0.15 and len(words) > 3:
        words[len(words) // 2 - 1] += ","
    return " ".join(words)


def _word(random: Random, pool: Sequence[str]) -> str:
    kind = random.random()
    if kind < 0.5:
        return random.choice(_COMMON)
    if kind < 0.75:
        return random.choice(pool)
    if kind < 0.82:
        return random.choice(NAMES[Split.TRAIN])
    if kind < 0.87:
        return random.choice(OBJECTS[Split.TRAIN])
    if kind < 0.92:
        return pseudo_word(random, Split.TRAIN)
    return "".join(random.choices(_LETTERS, k=random.randint(2, 8)))


def _strange_word(random: Random) -> str:
    """Two to four made-up syllables with an English ending, at times a capital: strange, but shaped like a word."""
    syllables = (
        random.choice(_ONSETS) + random.choice("aeiou") + random.choice(_CODAS)
        for _ in range(random.randint(1, 3))
    )
    word = "".join(syllables) + random.choice(_ENDINGS)
    return word.capitalize() if random.random() < 0.15 else word
