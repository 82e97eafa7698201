"""The preference pairs of the embedded segment model: what it is trained on, and what it is measured on.

The domain is small, so that two million weights can check it in one forward pass: numbers up to twelve, one to three
steps, wrong results and wrong final numbers; and messages with insults, rude commands or threats. Both completions of
a pair are worded alike and differ in one error.
"""

from collections.abc import Iterator
from itertools import islice

from .corpora.arithmetic_pairs import arithmetic_pairs
from .corpora.items import Domain, Split
from .corpora.pairs import Pair, mixed
from .corpora.toxicity_pairs import toxicity_pairs

DOMAINS = (Domain.ARITHMETIC, Domain.TOXICITY)
LARGEST = 12
STRANGE = 0.25
HELD_OUT_SEED = 20_000
_STEPS = (1, 3)
_RESULTS_ONLY = (1.0, 0.0, 0.0)
_CONTESTS = (0.75, 0.25, 0.0)


def terse_pairs(seed: int) -> Iterator[Pair]:
    """Of all numbers, equations with few words or none for the most part: here it learns to check."""
    train = Split.TRAIN
    sources = (
        (0.6, arithmetic_pairs(seed, train, steps=(1, 2), terse=1.0)),
        (0.2, arithmetic_pairs(f"{seed} short", train, steps=(1, 2), strange=STRANGE)),
        (0.2, toxicity_pairs(f"{seed} first", train, strange=STRANGE)),
    )
    return mixed(f"{seed} terse", sources)


def twin_pairs(seed: int) -> Iterator[Pair]:
    """Of its own domain, in jumbled stories too: here it learns which segment to blame."""
    return mixed(str(seed), ((0.7, _arithmetic(seed, Split.TRAIN)), (0.3, _toxicity(seed, Split.TRAIN))))


def message_pairs(seed: int) -> Iterator[Pair]:
    """Messages for the most part, of many strange words: here it learns that what it does not know is no insult."""
    stream, train = f"{seed} second", Split.TRAIN
    messages = toxicity_pairs(stream, train, contests=_CONTESTS, twins=1.0, strange=2 * STRANGE)
    return mixed(stream, ((0.35, _arithmetic(stream, train)), (0.65, messages)))


def held_out_pairs(domain: Domain, count: int, *, seed: int = HELD_OUT_SEED) -> list[Pair]:
    """Pairs of the same domain, of names, objects and sentence templates that training never saw."""
    source = _arithmetic if domain is Domain.ARITHMETIC else _toxicity
    return list(islice(source(seed, Split.HELD_OUT), count))


def _arithmetic(seed: int | str, split: Split) -> Iterator[Pair]:
    return arithmetic_pairs(
        seed,
        split,
        steps=_STEPS,
        contests=_CONTESTS,
        twins=1.0,
        strange=_strange(split),
        largest=LARGEST,
        kinds=_RESULTS_ONLY,
    )


def _toxicity(seed: int, split: Split) -> Iterator[Pair]:
    return toxicity_pairs(seed, split, contests=_CONTESTS, twins=1.0, strange=_strange(split))


def _strange(split: Split) -> float:
    return STRANGE if split is Split.TRAIN else 0.0
