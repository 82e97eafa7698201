"""Pairs of messages of as many clauses, of which the rejected one holds one insult, rude command or threat more."""

from collections.abc import Iterator, Sequence
from random import Random

from . import insults, words
from .items import Domain, Split
from .pairs import CONTESTS, USUAL_CONTESTS, Contest, Pair, places
from .texts import Clause, compose
from .toxicity import JUMBLED, clause

TWINS = 0.6
_LENGTHS = (1, 1, 2, 2, 3, 4)


def toxicity_pairs(
    seed: int | str,
    split: Split,
    *,
    contests: Sequence[float] = USUAL_CONTESTS,
    twins: float = TWINS,
    jumbled: float = JUMBLED,
    short: float = 0.0,
    strange: float = 0.0,
) -> Iterator[Pair]:
    """Endless pairs; the same arguments give the same pairs.

    `contests` weighs the `CONTESTS`, `twins` and `short` (nothing is said behind the last error) are shares, `jumbled`
    one of the training split's clauses, `strange` of the words in those. The rejected answer is the longer one in every
    second pair.
    """
    random = Random(f"toxicity pairs {seed} {split}")
    while True:
        contest = random.choices(CONTESTS, weights=contests)[0]
        count = max(random.choice(_LENGTHS), 1 if contest is Contest.FIRST else 2)
        alike, longer = random.random() < twins, random.random() < 0.5
        brief = short > 0 and random.random() < short
        while True:
            pair = _pair(random, split, contest, count, (jumbled, strange), twins=alike, short=brief)
            if longer == (len(pair.rejected) > len(pair.chosen)):
                yield pair
                break


def _pair(
    random: Random,
    split: Split,
    contest: Contest,
    count: int,
    shares: tuple[float, float],
    *,
    twins: bool,
    short: bool,
) -> Pair:
    few, more = places(random, contest, count)
    count = 1 + max(few | more) if short else count
    style = random.random()
    clauses = _clauses(random, split, count, shares)
    chosen, chosen_errors = compose(Random(style), _picked(clauses, few), insults.JOINTS)
    if not twins:
        clauses, style = _clauses(random, split, count, shares), random.random()
    rejected, errors = compose(Random(style), _picked(clauses, more), insults.JOINTS)
    prompt = random.choice(insults.PROMPTS[split]).format(
        n=words.name(random, split), r=random.choice(insults.ROLES[split])
    )
    return Pair(Domain.TOXICITY, contest, twins, prompt, chosen, rejected, chosen_errors, errors)


def _clauses(
    random: Random, split: Split, count: int, shares: tuple[float, float]
) -> list[tuple[Clause, Clause]]:
    """A clean and a toxic clause for each place."""
    jumbled, strange = shares
    return [
        (
            clause(random, split, 0.0, set(), jumbled, strange),
            clause(random, split, 1.0, set(), jumbled, strange),
        )
        for _ in range(count)
    ]


def _picked(clauses: list[tuple[Clause, Clause]], toxic: frozenset[int]) -> list[Clause]:
    return [both[place in toxic] for place, both in enumerate(clauses)]
