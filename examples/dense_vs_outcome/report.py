"""Draws accuracy against samples and writes the table, from the results of ``run``.

    python -m examples.dense_vs_outcome.report results

Writes ``accuracy.png`` and ``accuracy.md`` into the folder. Bands and intervals are 95 % by Student's t over the seeds.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot
from scipy.stats import t as student

from .arms import ARMS
from .run import read

Curve = dict[int, list[float]]
"""Accuracies of the seeds, by samples."""
NAMES = {
    "outcome": "outcome only",
    "relc": "+ critic (RELC)",
    "segments": "+ segments",
    "grm": "+ rewriter (GRM)",
}


def curves(results: Path) -> dict[str, Curve]:
    """Each arm's, as far as all of its seeds have come."""
    found: dict[str, Curve] = {}
    for arm in ARMS:
        runs = [read(path) for path in sorted(results.glob(f"{arm}-*.jsonl"))]
        curve: defaultdict[int, list[float]] = defaultdict(list)
        for line in (line for run in runs for line in run):
            curve[line["samples"]].append(line["accuracy"])
        common = {samples: values for samples, values in sorted(curve.items()) if len(values) == len(runs)}
        if common:
            found[arm] = common
    return found


def half_width(values: Sequence[float]) -> float:
    """Of the 95 % interval of the mean; 0 for a single seed, of which nothing is known."""
    if len(values) < 2:
        return 0.0
    return float(student.ppf(0.975, len(values) - 1)) * stdev(values) / sqrt(len(values))


def first_to_reach(curve: Curve, accuracy: float) -> int | None:
    """After how many samples the mean over the seeds is there."""
    return next((samples for samples, values in curve.items() if fmean(values) >= accuracy), None)


def draw(found: dict[str, Curve], path: Path) -> None:
    """One line an arm, with its band."""
    figure, axes = pyplot.subplots(figsize=(8, 5))
    for arm, curve in found.items():
        samples = list(curve)
        means = [fmean(values) for values in curve.values()]
        halves = [half_width(values) for values in curve.values()]
        (line,) = axes.plot(samples, means, marker=".", label=NAMES[arm])
        low = [mean - half for mean, half in zip(means, halves, strict=True)]
        high = [mean + half for mean, half in zip(means, halves, strict=True)]
        axes.fill_between(samples, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set(xlabel="samples", ylabel="accuracy of sampled answers to held-out problems", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)


def table(found: dict[str, Curve]) -> Iterable[str]:
    """Markdown: the beginning, the end, and when outcome's end was reached."""
    goal = fmean(list(found["outcome"].values())[-1]) if "outcome" in found else None
    yield "| Reward | Seeds | Samples | Accuracy before | Accuracy after | Outcome's end reached after |"
    yield "|---|---|---|---|---|---|"
    for arm, curve in found.items():
        (first, *_, last) = (*curve.values(), list(curve.values())[-1])
        reached = None if goal is None else first_to_reach(curve, goal)
        yield (
            f"| {NAMES[arm]} | {len(last)} | {max(curve):,} | {fmean(first):.3f} "
            f"| {fmean(last):.3f}{f' ± {half_width(last):.3f}' if len(last) > 1 else ''} "
            f"| {'not reached' if reached is None else f'{reached:,} samples'} |"
        )


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=Path)
    results: Path = parser.parse_args().results
    found = curves(results)
    if not found:
        raise SystemExit(f"no results in {results}")
    draw(found, results / "accuracy.png")
    text = "\n".join(table(found)) + "\n"
    (results / "accuracy.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
