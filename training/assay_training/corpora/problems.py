"""Arithmetic problems as data: which numbers the question gives, and which steps lead from them to the answer.

The domain is kept small on purpose: whole numbers up to forty, one operation a step, two to five steps, each
number of the question used once and in its order.
"""

from dataclasses import dataclass
from random import Random

LARGEST = 40
LARGEST_FACTOR = 9


@dataclass(frozen=True, slots=True)
class Source:
    """Where an operand comes from: a number of the question (counted from 0), or an earlier step's result."""

    index: int
    step: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One operation on two sources."""

    operator: str
    left: Source
    right: Source


@dataclass(frozen=True, slots=True)
class Problem:
    """`shape` names the kind of opening; `numbers` are the question's, `steps` lead to the answer in order."""

    shape: str
    numbers: tuple[int, ...]
    steps: tuple[Step, ...]


def evaluate(operator: str, left: int, right: int) -> int | None:
    """The result, or None where it leaves the domain (below one, above the largest, a remainder)."""
    match operator:
        case "+":
            result = left + right
        case "-":
            result = left - right
        case "*":
            result = left * right
        case "/" if right > 0 and left % right == 0:
            result = left // right
        case _:
            return None
    return result if 0 < result <= LARGEST else None


def number(index: int) -> Source:
    """The question's number at this place."""
    return Source(index, step=False)


def result(index: int) -> Source:
    """The result of the step at this place."""
    return Source(index, step=True)


def make_problem(random: Random, steps: int) -> Problem:
    """A random problem of this many steps."""
    while True:
        problem = _attempt(random, steps)
        if problem is not None:
            return problem


def _attempt(random: Random, count: int) -> Problem | None:
    shapes = ("chain", "groups", "two_groups") if count >= 3 else ("chain", "groups")
    shape = random.choices(shapes, weights=(7, 4, 1)[: len(shapes)])[0]
    numbers, steps, values = _opening(random, shape)
    while len(steps) < count:
        operator, operand = _event(random, values[-1])
        numbers.append(operand)
        left = result(len(steps) - 1) if steps else number(0)
        steps.append(Step(operator, left, number(len(numbers) - 1)))
        value = evaluate(operator, values[-1], operand)
        if value is None:
            return None
        values.append(value)
    if any(value > LARGEST for value in values):
        return None
    return Problem(shape, tuple(numbers), tuple(steps))


def _opening(random: Random, shape: str) -> tuple[list[int], list[Step], list[int]]:
    if shape == "chain":
        start = random.randint(2, 30)
        return [start], [], [start]
    first, second = _factors(random)
    one = Step("*", number(0), number(1))
    if shape == "groups":
        return [first, second], [one], [first * second]
    third, fourth = _factors(random)
    steps = [one, Step("*", number(2), number(3)), Step("+", result(0), result(1))]
    products = [first * second, third * fourth]
    return [first, second, third, fourth], steps, [*products, sum(products)]


def _factors(random: Random) -> tuple[int, int]:
    first = random.randint(2, LARGEST_FACTOR)
    return first, random.randint(2, min(LARGEST_FACTOR, LARGEST // first))


def _event(random: Random, value: int) -> tuple[str, int]:
    choices = []
    if value < LARGEST:
        choices.append(("+", random.randint(1, LARGEST - value)))
    if value > 1:
        choices.append(("-", random.randint(1, value - 1)))
    if value * 2 <= LARGEST:
        choices.append(("*", random.randint(2, min(LARGEST_FACTOR, LARGEST // value))))
    divisors = [
        divisor for divisor in range(2, LARGEST_FACTOR + 1) if value % divisor == 0 and value > divisor
    ]
    if divisors:
        choices.append(("/", random.choice(divisors)))
    return random.choice(choices)
