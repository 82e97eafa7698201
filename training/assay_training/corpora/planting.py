"""Write a problem down as equations, right or with one planted error, and say what a critic should answer.

After a planted error the later steps go on from the wrong value, as a real solution would. The gold reply derives each
operand from its source (`q2`: the second number of the question, `s0`: the result of line 0) and stops at the first
operand or result that differs from the claim.
"""

from dataclasses import dataclass
from random import Random

from .problems import LARGEST, Problem, Source, Step, evaluate

ERROR_KINDS = ("arithmetic", "copy", "carry", "final")
NO_ERROR = "none"


@dataclass(frozen=True, slots=True)
class Equation:
    """One equation as written."""

    operator: str
    left: int
    right: int
    result: int

    def text(self, *, spaced: bool = True) -> str:
        """`3 + 4 = 7`, or `3+4=7`."""
        gap = " " if spaced else ""
        return f"{self.left}{gap}{self.operator}{gap}{self.right}{gap}={gap}{self.result}"


@dataclass(frozen=True, slots=True)
class Solution:
    """The equations as written, the final number as written, and which entry is wrong (None: none is).

    The entry after the last equation is the final number.
    """

    problem: Problem
    equations: tuple[Equation, ...]
    final: int
    kind: str
    wrong: int | None


def solve(problem: Problem) -> Solution:
    """The right solution."""
    equations = _continue(problem, [])
    if equations is None:
        raise ValueError("the problem leaves its domain")
    return Solution(problem, tuple(equations), equations[-1].result, NO_ERROR, None)


def plant(random: Random, problem: Problem, kind: str) -> Solution | None:
    """A solution with one error of this kind, or None if this attempt failed (try again)."""
    at = len(problem.steps) if kind == "final" else random.randrange(len(problem.steps))
    return plant_at(random, solve(problem), at, kind)


def plant_at(random: Random, solution: Solution, at: int, kind: str) -> Solution | None:
    """The solution with an error of this kind at this entry, behind those it has; None if the attempt failed.

    A final number that is wrong is of the kind `final`, and nothing else is.
    """
    problem = solution.problem
    if kind == "final":
        wrong = _other(random, solution.final, [equation.result for equation in solution.equations])
        return Solution(problem, solution.equations, wrong, kind, at)
    step, equation = problem.steps[at], solution.equations[at]
    changed = (
        _arithmetic(random, equation)
        if kind == "arithmetic"
        else _operand(random, solution, step, equation, kind)
    )
    if changed is None:
        return None
    equations = _continue(problem, [*solution.equations[:at], changed])
    if equations is None:
        return None
    return Solution(problem, tuple(equations), equations[-1].result, kind, at)


def derivation(solution: Solution, at: int, line_of: dict[int, int]) -> str:
    """What a critic derives for one entry; `line_of` maps an equation to the label of its line."""
    problem, equations = solution.problem, solution.equations
    if at == len(equations):
        return f"s{line_of[at - 1]} {equations[-1].result}"
    step, written = problem.steps[at], equations[at]
    parts = []
    for source, claimed, sign in ((step.left, written.left, step.operator), (step.right, written.right, "=")):
        value = _value(problem, equations, source)
        tag = f"s{line_of[source.index]}" if source.step else f"q{source.index + 1}"
        parts.append(f"{tag} {value}")
        if value != claimed:
            return " ".join(parts)
        parts.append(sign)
    return " ".join([*parts, str(evaluate(written.operator, written.left, written.right))])


def _value(problem: Problem, equations: tuple[Equation, ...] | list[Equation], source: Source) -> int:
    return equations[source.index].result if source.step else problem.numbers[source.index]


def _continue(problem: Problem, equations: list[Equation]) -> list[Equation] | None:
    for step in problem.steps[len(equations) :]:
        left, right = _value(problem, equations, step.left), _value(problem, equations, step.right)
        result = evaluate(step.operator, left, right)
        if result is None:
            return None
        equations.append(Equation(step.operator, left, right, result))
    return equations


def _arithmetic(random: Random, equation: Equation) -> Equation:
    wrong = _other(random, equation.result, [])
    return Equation(equation.operator, equation.left, equation.right, wrong)


def _operand(random: Random, right: Solution, step: Step, equation: Equation, kind: str) -> Equation | None:
    sides = [side for side in ("left", "right") if getattr(step, side).step == (kind == "carry")]
    if not sides:
        return None
    side = random.choice(sides)
    confusable = [*right.problem.numbers, *(earlier.result for earlier in right.equations)]
    value = _other(random, getattr(equation, side), confusable)
    left, other = (value, equation.right) if side == "left" else (equation.left, value)
    result = evaluate(equation.operator, left, other)
    return None if result is None else Equation(equation.operator, left, other, result)


def _other(random: Random, value: int, confusable: list[int]) -> int:
    """A near or confusable number that is not this one."""
    tens, ones = divmod(value, 10)
    while True:
        wrong = random.choice(
            (
                value + random.choice((-2, -1, 1, 2)),
                value + random.choice((-10, 10)),
                ones * 10 + tens,
                random.randint(1, LARGEST),
                tens * 10 + random.randint(0, 9),
                random.choice(confusable or [value]),
            )
        )
        if 0 < wrong <= LARGEST and wrong != value:
            return wrong
