"""Fits the location-aware normalizer of segment rewards (papers.md 2.3) to the raw rewards of scored completions.

Raw rewards fall into buckets by progress k/K, and a robust regression of the buckets' means and standard deviations on
the logarithm of progress gives the four coefficients. A whole completion has one progress only: there a mean and a
standard deviation do.
"""

import json
import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from sklearn.linear_model import HuberRegressor

from assayd.annotators.cutting import BoundaryMode, Cut
from assayd.domain.provenance import ModelRef

FORMAT: Final = "assay-normalizer/1"
FEWEST_BUCKETS: Final = 3
LONGEST: Final = 10**6
HUBER_EPSILON: Final = 1.35
TINY_PROGRESS: Final = 1e-10
"""What the released code adds to progress before it takes the logarithm."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """The raw rewards at one progress: how many, their mean and their population standard deviation."""

    progress: float
    count: int
    mean: float
    std: float


@dataclass(frozen=True, slots=True)
class LogRegression:
    """``Mean(p) = w_mu ln p + b_mu`` and ``Std(p) = w_sig ln p + b_sig``, and the buckets they were fitted to.

    ``std_zero_at`` is the number of segments from which on the first one's Std is zero or less, None where that is
    beyond a million.
    """

    w_mu: float
    w_sig: float
    b_mu: float
    b_sig: float
    std_zero_at: int | None
    values: int
    buckets: tuple[Bucket, ...]

    def mean_at(self, progress: float) -> float:
        """Mean(p)."""
        return self.w_mu * math.log(progress + TINY_PROGRESS) + self.b_mu

    def std_at(self, progress: float) -> float:
        """Std(p), which is not always positive."""
        return self.w_sig * math.log(progress + TINY_PROGRESS) + self.b_sig


@dataclass(frozen=True, slots=True)
class Affine:
    """One mean and one population standard deviation for all."""

    mean: float
    std: float
    values: int


Fit = LogRegression | Affine


def buckets_of(completions: Iterable[Sequence[float]]) -> tuple[Bucket, ...]:
    """Raw rewards of completions, each in the order of its segments, by progress to three decimals; in rising order."""
    by_progress: dict[str, list[float]] = defaultdict(list)
    for values in completions:
        for k, value in enumerate(values, 1):
            if not math.isfinite(value):
                raise ValueError(f"a raw reward is {value}: nothing can be fitted to it")
            by_progress[f"{k / len(values):.3f}"].append(value)
    return tuple(
        Bucket(float(progress), len(values), float(np.mean(values)), float(np.std(values)))
        for progress, values in sorted(by_progress.items())
    )


def fit_log_regression(completions: Iterable[Sequence[float]], *, weighted: bool = False) -> LogRegression:
    """Huber regressions over the buckets, which all count the same as in the released code, or by their ``count``.

    Raises ``ValueError`` for fewer than three buckets.
    """
    return regressed(buckets_of(completions), weighted=weighted)


def regressed(buckets: Sequence[Bucket], *, weighted: bool = False) -> LogRegression:
    """The regressions over given buckets."""
    if len(buckets) < FEWEST_BUCKETS:
        raise ValueError(
            f"the raw rewards stand at {len(buckets)} different progresses k/K, a curve needs {FEWEST_BUCKETS}: "
            "score completions that are cut into more segments (a lower c_ent cuts more), or fit bandit mode"
        )
    weights = [bucket.count for bucket in buckets] if weighted else None
    w_mu, b_mu = _line(buckets, [bucket.mean for bucket in buckets], weights)
    w_sig, b_sig = _line(buckets, [bucket.std for bucket in buckets], weights)
    values = sum(bucket.count for bucket in buckets)
    return LogRegression(w_mu, w_sig, b_mu, b_sig, std_zero_at(w_sig, b_sig), values, tuple(buckets))


def fit_affine(completions: Iterable[Sequence[float]]) -> Affine:
    """Mean and population standard deviation; ``ValueError`` where all are equal, or there are none."""
    values = [value for completion in completions for value in completion]
    mean, std = (float(np.mean(values)), float(np.std(values))) if values else (0.0, 0.0)
    if not (math.isfinite(mean) and std > 0):
        raise ValueError(f"{len(values)} raw rewards without a spread to divide by: score more completions")
    return Affine(mean, std, len(values))


def std_zero_at(w_sig: float, b_sig: float) -> int | None:
    """The smallest number of segments K with ``Std(1/K) <= 0``, None where there is none up to a million."""

    def is_spent(segments: int) -> bool:
        return w_sig * math.log(1 / segments + TINY_PROGRESS) + b_sig <= 0

    if is_spent(1):
        return 1
    if not is_spent(LONGEST):
        return None
    return 1 + bisect_left(range(1, LONGEST + 1), True, key=is_spent)


def fit_normalizer(
    scored: Mapping[Cut, Sequence[Sequence[float]]],
    *,
    model: ModelRef,
    entropy_model: ModelRef | None,
    service_version: str,
    data_sha256: str,
    out: Path,
    weighted: bool = False,
) -> dict[str, Any]:
    """Fit each cut's raw rewards, write the file ``out`` and beside it a plot of each fit; the file's content.

    ``scored`` has, for each cut, the raw rewards of every completion in the order of its segments.
    """
    from .normalizer_plots import plot_fit  # matplotlib takes a second to import

    fits: list[dict[str, Any]] = []
    for how, completions in scored.items():
        bandit = how.boundary_mode is BoundaryMode.BANDIT
        fit = fit_affine(completions) if bandit else fit_log_regression(completions, weighted=weighted)
        fits.append({"cut": asdict(how), "kind": "affine" if bandit else "log_regression", **asdict(fit)})
        plot_fit(out.with_name(f"{out.stem}-{len(fits)}.png"), how, fit, completions)
    content = {
        "format": FORMAT,
        "model": model.identity(),
        "entropy_model": None if entropy_model is None else entropy_model.identity(),
        "service_version": service_version,
        "made_at": datetime.now(UTC).date().isoformat(),
        "data": {"sha256": data_sha256, "completions": max(map(len, scored.values()), default=0)},
        "fits": fits,
    }
    out.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    return content


def _line(
    buckets: Sequence[Bucket], heights: Sequence[float], weights: Sequence[int] | None
) -> tuple[float, float]:
    """Slope and intercept on ``ln(p + 1e-10)``, hardly moved by outliers."""
    logs_n1 = np.log(np.array([[bucket.progress] for bucket in buckets]) + TINY_PROGRESS)
    line = HuberRegressor(epsilon=HUBER_EPSILON, max_iter=1000).fit(logs_n1, heights, sample_weight=weights)
    return float(line.coef_[0]), float(line.intercept_)
