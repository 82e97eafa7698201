"""Draws what a normalizer was fitted to, and the fit, so that a person can look before trusting it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from assayd.annotators.cutting import BoundaryMode, Cut, Segmenter

from .normalizer_fit import Affine, Fit, LogRegression

SIZE_INCHES = (8.0, 5.0)
MEAN_COLOUR, STD_COLOUR = "tab:blue", "tab:orange"


def plot_fit(path: Path, how: Cut, fit: Fit, completions: Sequence[Sequence[float]]) -> None:
    """Write a PNG: bucket means and standard deviations with the fitted curves, or a histogram for an affine fit."""
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    axes = figure.add_subplot()
    if isinstance(fit, LogRegression):
        _draw_curves(axes, fit)
    else:
        _draw_histogram(axes, fit, completions)
    axes.set_title(
        f"{_named(how)}: {fit.values} raw rewards of {len(completions)} completions\n{_formula(fit)}",
        fontsize=10,
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, format="png", dpi=120)


def _draw_curves(axes: Axes, fit: LogRegression) -> None:
    progress = [bucket.progress for bucket in fit.buckets]
    counts = np.array([bucket.count for bucket in fit.buckets])
    areas = 8 + 60 * np.sqrt(counts / counts.max())
    smooth = np.linspace(max(min(progress), 1e-3), 1.0, 300)
    for colour, name, heights, curve in (
        (MEAN_COLOUR, "mean", [bucket.mean for bucket in fit.buckets], fit.mean_at),
        (STD_COLOUR, "standard deviation", [bucket.std for bucket in fit.buckets], fit.std_at),
    ):
        axes.scatter(
            progress, heights, s=areas, color=colour, alpha=0.35, linewidths=0, label=f"{name} of a bucket"
        )
        axes.plot(smooth, [curve(place) for place in smooth], color=colour, label=f"fitted {name}")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel("progress k/K of the segment (dots: larger where there are more values)")
    axes.set_ylabel("raw reward")


def _draw_histogram(axes: Axes, fit: Affine, completions: Sequence[Sequence[float]]) -> None:
    axes.hist([value for values in completions for value in values], bins=50, color=MEAN_COLOUR, alpha=0.5)
    axes.axvline(fit.mean, color=MEAN_COLOUR, label="mean")
    axes.axvspan(
        fit.mean - fit.std, fit.mean + fit.std, color=STD_COLOUR, alpha=0.15, label="one standard deviation"
    )
    axes.set_xlabel("raw reward of the completion")
    axes.set_ylabel("completions")


def _named(how: Cut) -> str:
    if how.boundary_mode is not BoundaryMode.SEGMENT:
        return f"{how.boundary_mode} mode"
    match how.segmenter:
        case Segmenter.ENTROPY:
            return f"segments by entropy above {how.c_ent:g} nats"
        case Segmenter.FIXED:
            return f"segments of {how.segment_length} tokens"
        case _:
            return f"segments by {how.segmenter}"


def _formula(fit: Fit) -> str:
    if isinstance(fit, Affine):
        return f"mean {fit.mean:.4f}, standard deviation {fit.std:.4f}"
    reach = "a million segments" if fit.std_zero_at is None else f"{fit.std_zero_at - 1} segments"
    return (
        f"Mean(p) = {fit.w_mu:.4f} ln p {fit.b_mu:+.4f},  Std(p) = {fit.w_sig:.4f} ln p {fit.b_sig:+.4f}\n"
        f"Std is positive up to {reach}"
    )
