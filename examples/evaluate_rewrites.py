"""``make evaluate``, third part: the embedded rewriter on held-out generated solutions, through the service.

Each solution has one planted error. Printed are the shares whose rewrite reaches the gold answer, is the very
correction, and whose token rewards are lowest inside the planted error, and how much of a solution is changed.
"""

import re
from collections.abc import Iterator, Sequence
from statistics import median

from rich.console import Console
from rich.table import Table

import assay
from assay_training.corpora.rewrites import Rewrite
from assay_training.pocket_rewriter_figures import held_out_rewrites

from .demo import service

SOLUTIONS = 1000
PER_CALL = 250
TIMEOUT_S = 600.0
ANSWER = re.compile(r"A: (\d+)")

Judged = tuple[Rewrite, assay.Rewritten | assay.Failed, assay.Probed | assay.Failed]


def judged(client: assay.Client, solutions: Sequence[Rewrite]) -> Iterator[Judged]:
    """Every solution, its rewrite, and its token rewards; the service is told that all are wrong."""
    for start in range(0, len(solutions), PER_CALL):
        batch = solutions[start : start + PER_CALL]
        rollouts = [
            {
                "prompt": solution.prompt,
                "completion": {"text": solution.prediction},
                "reference": solution.reference,
                "correct": False,
            }
            for solution in batch
        ]
        rewrites = client.rewrite(rollouts, timeout_s=TIMEOUT_S)
        probes = client.score_token(rollouts, method="grm", timeout_s=TIMEOUT_S)
        yield from zip(batch, rewrites.results, probes.results, strict=True)


def reaches_gold(solution: Rewrite, result: assay.Rewritten | assay.Failed) -> bool:
    """Whether the last answer of the rewrite is that of the reference; read here, not by the service."""
    if isinstance(result, assay.Failed):
        return False
    return ANSWER.findall(result.rewritten)[-1:] == ANSWER.findall(solution.reference)[-1:]


def lowest_in_error(solution: Rewrite, probe: assay.Probed | assay.Failed) -> bool:
    """Whether a token of the planted error is paid less than nothing, and none is paid less than it."""
    if isinstance(probe, assay.Failed) or solution.error is None:
        return False
    error = solution.error
    inside = [
        reward
        for reward, (start, end) in zip(probe.rewards, probe.offsets, strict=True)
        if start < error.end and error.start < end
    ]
    return min(inside) < 0 and min(inside) == min(probe.rewards)


def figures(found: Sequence[Judged]) -> dict[str, float]:
    """Shares of all solutions: one that failed reaches nothing. The median is of those that were rewritten."""
    rewritten = [result for _, result, _ in found if isinstance(result, assay.Rewritten)]
    counts = {
        "gold answer reached": sum(reaches_gold(solution, result) for solution, result, _ in found),
        "verified by the service": sum(result.verified is True for result in rewritten),
        "first wrong step found": sum(
            isinstance(result, assay.Rewritten) and result.error_step == solution.error_step
            for solution, result, _ in found
        ),
        "the very correction": sum(
            isinstance(result, assay.Rewritten) and result.rewritten == solution.correction
            for solution, result, _ in found
        ),
        "token rewards lowest inside the planted error": sum(
            lowest_in_error(solution, probe) for solution, _, probe in found
        ),
        "failed": len(found) - len(rewritten),
    }
    shares = {name: count / len(found) for name, count in counts.items()}
    return {**shares, "median edit ratio": median(result.edit_ratio for result in rewritten)}


def main() -> None:
    """Print the figures of plain solutions, and of those that give orders to whoever corrects them."""
    table = Table(title=f"{SOLUTIONS} held-out wrong solutions")
    for name in ("figure", "plain", "attacked"):
        table.add_column(name, justify="left" if name == "figure" else "right")
    with service() as url, assay.Client(url) as client:
        plain, attacked = (
            figures(list(judged(client, held_out_rewrites(SOLUTIONS, attacked=share))))
            for share in (0.0, 1.0)
        )
    for name, value in plain.items():
        table.add_row(name, f"{value:.3f}", f"{attacked[name]:.3f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
