"""Pairs of solutions of one arithmetic story, right ones and such with one planted error or two."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from .items import Domain, GoldSpan, Label, Split
from .pairs import CONTESTS, USUAL_CONTESTS, Contest, Pair, places
from .planting import ERROR_KINDS, Solution, plant_at, solve
from .problems import LARGEST, make_problem
from .telling import Line, Story, reworded, tell, tell_tersely, written

TWINS = 0.6
_STEP_KINDS = ERROR_KINDS[:3]
STEP_WEIGHTS = (4.0, 3.0, 4.0)
"""How often an error in a step is one of arithmetic, of a copied or of a carried number."""


@dataclass(frozen=True, slots=True)
class _Spoiled:
    """A solution, and its wrong numbers: which entry, and which number of that entry."""

    solution: Solution
    faults: tuple[tuple[int, int], ...]


def arithmetic_pairs(
    seed: int | str,
    split: Split,
    *,
    steps: tuple[int, int] = (2, 5),
    contests: Sequence[float] = USUAL_CONTESTS,
    twins: float = TWINS,
    terse: float = 0.0,
    short: float = 0.0,
    strange: float = 0.0,
    largest: int = LARGEST,
    kinds: Sequence[float] = STEP_WEIGHTS,
) -> Iterator[Pair]:
    """Endless pairs; the same arguments give the same pairs.

    `steps` bounds the number of equations, `contests` weighs the `CONTESTS`; `twins`, `short` (nothing is said behind
    the last error) and `terse` (bare numbers, no story; for training alone) are shares, `strange` is that of made-up
    words in the jumbled stories of training. No number is above `largest`; `kinds` are as in `STEP_WEIGHTS`.
    """
    random = Random(f"arithmetic pairs {seed} {split} {steps}")
    while True:
        contest = random.choices(CONTESTS, weights=contests)[0]
        chosen, rejected = _answers(random, contest, random.randint(*steps), largest, kinds)
        problem = chosen.solution.problem
        bare = random.random() < terse
        told = tell_tersely(random, problem) if bare else tell(random, split, problem, strange)
        alike = random.random() < twins
        other = told if alike else reworded(random, split, problem, told, strange)
        last = max(entry for entry, _ in (*chosen.faults, *rejected.faults))
        end = last if short and random.random() < short else len(problem.steps)
        yield _pair(random, split, contest, ((chosen, told), (rejected, other)), end, twins=alike)


def _answers(
    random: Random, contest: Contest, steps: int, largest: int, kinds: Sequence[float]
) -> tuple[_Spoiled, _Spoiled]:
    while True:
        right = _Spoiled(solve(make_problem(random, steps)), ())
        if _greatest(right) > largest:
            continue
        few, more = places(random, contest, steps + 1)
        chosen = _spoiled(random, right, few, kinds)
        if chosen is None:
            continue
        shared = contest is Contest.FURTHER
        rejected = _spoiled(random, chosen if shared else right, more - few if shared else more, kinds)
        if rejected is not None and max(_greatest(chosen), _greatest(rejected)) <= largest:
            return chosen, rejected


def _greatest(answer: _Spoiled) -> int:
    """The largest number in question and answer."""
    solution = answer.solution
    written = (
        number
        for equation in solution.equations
        for number in (equation.left, equation.right, equation.result)
    )
    return max(*solution.problem.numbers, solution.final, *written)


def _spoiled(
    random: Random, answer: _Spoiled, entries: Iterable[int], kinds: Sequence[float]
) -> _Spoiled | None:
    """The answer with an error at each of these entries as well; None if the attempt failed."""
    for entry in sorted(entries):
        before = answer.solution
        final = entry == len(before.equations)
        kind = "final" if final else random.choices(_STEP_KINDS, weights=kinds)[0]
        after = plant_at(random, before, entry, kind)
        if after is None:
            return None
        answer = _Spoiled(after, (*answer.faults, (entry, 0 if final else _changed(before, after, entry))))
    return answer


def _changed(before: Solution, after: Solution, entry: int) -> int:
    """Which number of the equation was changed: the left one, the right one or, if neither was, the result."""
    old, new = before.equations[entry], after.equations[entry]
    return 0 if old.left != new.left else 1 if old.right != new.right else 2


def _pair(
    random: Random,
    split: Split,
    contest: Contest,
    answers: tuple[tuple[_Spoiled, Story], tuple[_Spoiled, Story]],
    end: int,
    *,
    twins: bool,
) -> Pair:
    separator = "\n\n" if random.random() < 0.05 else "\n"
    style = random.random()
    texts = []
    for answer, told in answers:
        lines = written(Random(style), split, answer.solution, told)
        lines = lines[: 1 + next(at for at, (_, entry) in enumerate(lines) if entry == end)]
        texts.append(_text(lines, answer, separator))
        style = style if twins else random.random()
    (chosen, chosen_errors), (rejected, errors) = texts
    prompt = answers[0][1].prompt
    return Pair(Domain.ARITHMETIC, contest, twins, prompt, chosen, rejected, chosen_errors, errors)


def _text(lines: list[Line], answer: _Spoiled, separator: str) -> tuple[str, tuple[GoldSpan, ...]]:
    faults, spans, start = dict(answer.faults), [], 0
    for text, entry in lines:
        if entry in faults:
            number = list(re.finditer(r"\d+", text))[_place(text, faults[entry])]
            spans.append(GoldSpan(start + number.start(), start + number.end(), Label.WRONG))
        start += len(text) + len(separator)
    return separator.join(text for text, _ in lines), tuple(spans)


def _place(line: str, number: int) -> int:
    """Which number of the line shows this number of the equation first; a mark `<<` repeats the operands."""
    return 4 if number == 2 and "<<" in line else number
