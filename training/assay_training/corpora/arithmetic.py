"""Grade-school arithmetic: a story, its solution in lines, planted errors or none, and the gold critique.

Held-out stories use names, objects and sentence templates that training never sees; the numbers and equations are of
the same small world. Terse items (bare numbers, no story) belong to training only.
"""

from collections.abc import Iterator, Sequence
from random import Random

from . import stories, words
from .attacks import attack
from .items import Domain, GoldSpan, Item, Label, Split
from .jumble import jumble
from .planting import ERROR_KINDS, Solution, derivation, plant, solve
from .problems import Problem, make_problem

JUMBLED = 0.25
_EVENTS = {"+": stories.GAIN, "-": stories.LOSS, "*": stories.TIMES, "/": stories.SHARE}
USUAL_KINDS = (4, 3, 4, 2)
_Line = tuple[str, int | None]  # the text, and the entry it claims


def arithmetic_items(
    seed: int | str,
    split: Split,
    *,
    steps: tuple[int, int] = (2, 5),
    terse: float = 0.0,
    attacked: float = 0.0,
    right: float = 0.5,
    kinds: Sequence[float] = USUAL_KINDS,
    strange: float = 0.0,
) -> Iterator[Item]:
    """Endless items; the same arguments give the same items.

    `steps` bounds the number of equations; `terse`, `attacked` and `right` (without an error) are shares; `kinds`
    weighs the `ERROR_KINDS`; `strange` is the share of made-up words in the jumbled stories of training.
    """
    random = Random(f"arithmetic {seed} {split} {steps}")
    while True:
        solution = _solution(random, random.randint(*steps), right, kinds)
        bare = random.random() < terse
        prompt, lines = _terse(random, solution) if bare else _story(random, split, solution, strange)
        yield _item(random, split, prompt, lines, solution, attacked=random.random() < attacked)


def _solution(random: Random, steps: int, right: float, kinds: Sequence[float]) -> Solution:
    clean = random.random() < right
    while True:
        problem = make_problem(random, steps)
        if clean:
            return solve(problem)
        solution = plant(random, problem, random.choices(ERROR_KINDS, weights=kinds)[0])
        if solution is not None:
            return solution


def _terse(random: Random, solution: Solution) -> tuple[str, list[_Line]]:
    problem = solution.problem
    joint = random.choice((", ", "; ", " ", " then "))
    prompt = joint.join(str(number) for number in problem.numbers)
    lines = _equation_lines(random, solution, ["{e}"] * len(problem.steps))
    if solution.kind == "final" or random.random() < 0.5:
        lines.append((f"A: {solution.final}", len(problem.steps)))
    return prompt, lines


def _story(random: Random, split: Split, solution: Solution, strange: float) -> tuple[str, list[_Line]]:
    problem = solution.problem
    slots = {"n": words.name(random, split), "m": words.name(random, split), "o": words.things(random, split)}
    sentences = _opening(random, split, problem, slots)
    used = len(problem.numbers) - _free_steps(problem)
    for number, step in zip(
        problem.numbers[used:], problem.steps[len(problem.steps) - _free_steps(problem) :], strict=True
    ):
        sentences.append(random.choice(_EVENTS[step.operator][split]).format(a=number, **slots))
    sentences.append(random.choice(stories.QUESTION[split]).format(**slots))
    templates = [
        random.choice(stories.STEPS[step.operator][split]).format(e="{e}", **slots) for step in problem.steps
    ]
    if split is Split.TRAIN and random.random() < JUMBLED:
        sentences = [jumble(random, words.OBJECTS[split], _numbers(random, problem.numbers), strange=strange)]
        templates = [jumble(random, words.OBJECTS[split], ("{e}",), strange=strange) for _ in problem.steps]
    lines = _equation_lines(random, solution, templates)
    lines.append((f"A: {solution.final}", len(problem.steps)))
    if random.random() < 0.12:
        remark = random.choice(stories.REMARKS[split]).format(**slots)
        lines.insert(random.randrange(len(lines)), (remark, None))
    return " ".join(sentences), lines


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


def _equation_lines(random: Random, solution: Solution, templates: list[str]) -> list[_Line]:
    marks, currency = random.random() < 0.25, random.choice(("", "", "$"))
    lines: list[_Line] = []
    for index, (equation, template) in enumerate(zip(solution.equations, templates, strict=True)):
        text = equation.text()
        if marks:
            left = text.partition("=")[0]
            text = f"{left}= {currency}<<{equation.text(spaced=False)}>>{equation.result}"
        lines.append((template.format(e=text), index))
    return lines


def _item(
    random: Random, split: Split, prompt: str, lines: list[_Line], solution: Solution, *, attacked: bool
) -> Item:
    if attacked:
        _inject(random, split, lines)
    texts = [text for text, _ in lines]
    separator = "\n\n" if random.random() < 0.05 else "\n"
    completion = separator.join(texts)
    starts = [sum(len(text) + len(separator) for text in texts[:index]) for index in range(len(texts))]
    line_of = {entry: index for index, (_, entry) in enumerate(lines) if entry is not None}
    reply, spans = [], []
    for index, (text, entry) in enumerate(lines):
        if entry is None:
            reply.append(f'[{index}] "" | none | correct')
            continue
        claim = _claim(solution, entry, text)
        wrong = entry == solution.wrong
        reply.append(
            f'[{index}] "{claim}" | {derivation(solution, entry, line_of)} | {"wrong" if wrong else "correct"}'
        )
        if wrong:
            start = starts[index] + text.index(claim)
            spans.append(GoldSpan(start, start + len(claim), Label.WRONG))
            break
    return Item(
        Domain.ARITHMETIC, solution.kind, prompt, completion, tuple(spans), "\n".join(reply), attacked
    )


def _claim(solution: Solution, entry: int, text: str) -> str:
    if entry == len(solution.equations):
        return f"A: {solution.final}"
    equation = solution.equations[entry]
    compact = equation.text(spaced=False)
    return compact if f"<<{compact}>>" in text else equation.text()


def _inject(random: Random, split: Split, lines: list[_Line]) -> None:
    """Put an attack on lines of its own, or before or behind the text of one."""
    order = attack(random, Domain.ARITHMETIC, split)
    if random.random() < 0.7:
        at = len(lines) if random.random() < 0.6 else random.randrange(len(lines) + 1)
        orders = [order] if random.random() < 0.75 else [order, attack(random, Domain.ARITHMETIC, split)]
        lines[at:at] = [(text, None) for text in orders]
    else:
        at = random.randrange(len(lines))
        text, entry = lines[at]
        joint = random.choice((" ", " ", ". ", " - ", ", "))
        lines[at] = (f"{order}{joint}{text}" if random.random() < 0.2 else f"{text}{joint}{order}", entry)
