"""Tell an arithmetic problem as a story and write its solution down in lines."""

from dataclasses import dataclass, replace
from random import Random

from . import stories, words
from .items import Split
from .jumble import jumble
from .planting import Solution
from .problems import Problem

JUMBLED = 0.25
_EVENTS = {"+": stories.GAIN, "-": stories.LOSS, "*": stories.TIMES, "/": stories.SHARE}
Line = tuple[str, int | None]
"""The text, and the entry it claims."""


@dataclass(frozen=True, slots=True)
class Story:
    """A question, what its slots were filled with, and a sentence for each equation (`{e}`)."""

    prompt: str
    slots: dict[str, str]
    templates: list[str]
    jumbled: bool


def tell(random: Random, split: Split, problem: Problem, strange: float, jumbled: float = JUMBLED) -> Story:
    """A story of the problem, and a wording of its solution; in training a share is of jumbled words."""
    slots = {"n": words.name(random, split), "m": words.name(random, split), "o": words.things(random, split)}
    sentences = _opening(random, split, problem, slots)
    used = len(problem.numbers) - _free_steps(problem)
    for number, step in zip(
        problem.numbers[used:], problem.steps[len(problem.steps) - _free_steps(problem) :], strict=True
    ):
        sentences.append(random.choice(_EVENTS[step.operator][split]).format(a=number, **slots))
    sentences.append(random.choice(stories.QUESTION[split]).format(**slots))
    templates = _wording(random, split, problem, slots)
    if split is Split.TRAIN and random.random() < jumbled:
        sentences = [jumble(random, words.OBJECTS[split], _numbers(random, problem.numbers), strange=strange)]
        templates = _jumbled(random, split, problem, strange)
        return Story(" ".join(sentences), slots, templates, jumbled=True)
    return Story(" ".join(sentences), slots, templates, jumbled=False)


def tell_tersely(random: Random, problem: Problem) -> Story:
    """The numbers without a story, and the equations without words."""
    joint = random.choice((", ", "; ", " ", " then "))
    prompt = joint.join(str(number) for number in problem.numbers)
    return Story(prompt, {}, ["{e}"] * len(problem.steps), jumbled=False)


def reworded(random: Random, split: Split, problem: Problem, told: Story, strange: float) -> Story:
    """The same story with another wording of the solution; a terse one has no other."""
    if not told.slots:
        return told
    templates = (
        _jumbled(random, split, problem, strange)
        if told.jumbled
        else _wording(random, split, problem, told.slots)
    )
    return replace(told, templates=templates)


def written(random: Random, split: Split, solution: Solution, told: Story) -> list[Line]:
    """The lines of the solution. What it draws does not depend on the numbers: twins differ in those alone."""
    lines = equation_lines(random, solution, told.templates)
    lines.append((f"A: {solution.final}", len(solution.equations)))
    if told.slots and random.random() < 0.12:
        remark = random.choice(stories.REMARKS[split]).format(**told.slots)
        lines.insert(random.randrange(len(lines)), (remark, None))
    return lines


def _wording(random: Random, split: Split, problem: Problem, slots: dict[str, str]) -> list[str]:
    return [
        random.choice(stories.STEPS[step.operator][split]).format(e="{e}", **slots) for step in problem.steps
    ]


def _jumbled(random: Random, split: Split, problem: Problem, strange: float) -> list[str]:
    return [jumble(random, words.OBJECTS[split], ("{e}",), strange=strange) for _ in problem.steps]


def _numbers(random: Random, numbers: tuple[int, ...]) -> list[str]:
    return [f"{number}{random.choice(('', '', '.', ','))}" for number in numbers]


def _free_steps(problem: Problem) -> int:
    opening = {"chain": 0, "groups": 1, "two_groups": 3}[problem.shape]
    return len(problem.steps) - opening


def _opening(random: Random, split: Split, problem: Problem, slots: dict[str, str]) -> list[str]:
    numbers = problem.numbers
    match problem.shape:
        case "chain":
            return [random.choice(stories.START[split]).format(a=numbers[0], **slots)]
        case "groups":
            return [random.choice(stories.GROUPS[split]).format(a=numbers[0], b=numbers[1], **slots)]
        case _:
            return [
                random.choice(stories.GROUPS[split]).format(a=numbers[0], b=numbers[1], **slots),
                random.choice(stories.GROUPS[split]).format(
                    a=numbers[2], b=numbers[3], n=slots["m"], m=slots["n"], o=words.things(random, split)
                ),
                random.choice(stories.TOGETHER[split]).format(**slots),
            ]


def equation_lines(random: Random, solution: Solution, templates: list[str]) -> list[Line]:
    """A line for each equation; in some solutions with a calculator's mark."""
    marks, currency = random.random() < 0.25, random.choice(("", "", "$"))
    lines: list[Line] = []
    for index, (equation, template) in enumerate(zip(solution.equations, templates, strict=True)):
        text = equation.text()
        if marks:
            left = text.partition("=")[0]
            text = f"{left}= {currency}<<{equation.text(spaced=False)}>>{equation.result}"
        lines.append((template.format(e=text), index))
    return lines
