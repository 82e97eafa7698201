"""Grade-school arithmetic: a story, its solution in lines, planted errors or none, and the gold critique.

Held-out stories use names, objects and sentence templates that training never sees; the numbers and equations are of
the same small world. Terse items (bare numbers, no story) belong to training only.
"""

from collections.abc import Iterator, Sequence
from random import Random

from .attacks import attack
from .items import Domain, GoldSpan, Item, Label, Split
from .planting import ERROR_KINDS, Solution, derivation, plant, solve
from .problems import make_problem
from .telling import JUMBLED, Line, equation_lines, tell, tell_tersely, written

USUAL_KINDS = (4, 3, 4, 2)


def arithmetic_items(
    seed: int | str,
    split: Split,
    *,
    steps: tuple[int, int] = (2, 5),
    terse: float = 0.0,
    attacked: float = 0.0,
    right: float = 0.5,
    kinds: Sequence[float] = USUAL_KINDS,
    jumbled: float = JUMBLED,
    strange: float = 0.0,
) -> Iterator[Item]:
    """Endless items; the same arguments give the same items.

    `steps` bounds the number of equations; `terse`, `attacked` and `right` (without an error) are shares; `kinds`
    weighs the `ERROR_KINDS`; `jumbled` is a share of the stories of training, `strange` of the words in those.
    """
    random = Random(f"arithmetic {seed} {split} {steps}")
    while True:
        solution = _solution(random, random.randint(*steps), right, kinds)
        bare = random.random() < terse
        prompt, lines = (
            _terse(random, solution) if bare else _story(random, split, solution, jumbled, strange)
        )
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


def _terse(random: Random, solution: Solution) -> tuple[str, list[Line]]:
    problem = solution.problem
    told = tell_tersely(random, problem)
    lines = equation_lines(random, solution, told.templates)
    if solution.kind == "final" or random.random() < 0.5:
        lines.append((f"A: {solution.final}", len(problem.steps)))
    return told.prompt, lines


def _story(
    random: Random, split: Split, solution: Solution, jumbled: float, strange: float
) -> tuple[str, list[Line]]:
    told = tell(random, split, solution.problem, strange, jumbled)
    return told.prompt, written(random, split, solution, told)


def _item(
    random: Random, split: Split, prompt: str, lines: list[Line], solution: Solution, *, attacked: bool
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


def _inject(random: Random, split: Split, lines: list[Line]) -> None:
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
