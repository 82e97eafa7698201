"""The fit of the location-aware normalizer: buckets, robust coefficients, the file, and what is refused."""

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest

from assay_training.normalizer_fit import (
    Bucket,
    buckets_of,
    fit_affine,
    fit_log_regression,
    fit_normalizer,
    regressed,
    std_zero_at,
)
from assayd.annotators.cutting import BoundaryMode, Cut
from assayd.domain.provenance import ModelRef

S7_PROGRESS = (0.1, 0.2, 0.25, 0.333, 0.5, 0.667, 0.75, 0.8, 0.9, 1.0)


def _completions(count: int) -> list[list[float]]:
    """Raw rewards whose mean rises and whose spread widens with progress, at lengths from 1 to 20 segments."""
    random = np.random.default_rng(0)
    return [
        [
            0.7 * math.log(k / segments) + 0.4 + random.normal() * (2.0 + 0.2 * math.log(k / segments))
            for k in range(1, segments + 1)
        ]
        for segments in random.integers(1, 21, count)
    ]


def test_an_outlier_hardly_moves_the_coefficients_of_worked_case_s7() -> None:
    """On the phi3 line with +5 at p=.1 Huber finds the line, where least squares is far off (papers.md S7)."""
    lifted = {0.1: 5.0}
    buckets = [
        Bucket(p, 1, 0.7668 * math.log(p) + 0.4705 + lifted.get(p, 0.0), 0.2569 * math.log(p) + 2.8339)
        for p in S7_PROGRESS
    ]
    fit = regressed(buckets)
    assert (fit.w_mu, fit.b_mu) == pytest.approx((0.7668, 0.4705), abs=1e-4)
    assert (fit.w_sig, fit.b_sig) == pytest.approx((0.2569, 2.8339), abs=1e-4)
    squares = np.polyfit(np.log(S7_PROGRESS), [bucket.mean for bucket in buckets], 1)
    assert squares == pytest.approx((-0.65886, -0.186028), abs=1e-5)


def test_buckets_are_progress_to_three_decimals_with_population_spread() -> None:
    """Seven segments give .143 to 1.000; the spread of 1, 2, 4 is 1.247219 (papers.md S7)."""
    buckets = buckets_of([[1.0] * 6 + [value] for value in (1.0, 2.0, 4.0)])
    assert [bucket.progress for bucket in buckets] == [0.143, 0.286, 0.429, 0.571, 0.714, 0.857, 1.0]
    assert {bucket.count for bucket in buckets} == {3}
    assert buckets[-1].mean == pytest.approx(7 / 3)
    assert buckets[-1].std == pytest.approx(1.247219, abs=1e-6)
    assert buckets[0].std == 0.0


def test_progress_of_different_lengths_shares_a_bucket() -> None:
    """The second of four segments and the first of two stand halfway."""
    buckets = {
        bucket.progress: bucket for bucket in buckets_of([[0.0, 1.0, 0.0, 0.0], [3.0, 0.0], [0.0], []])
    }
    assert buckets[0.5].count == 2
    assert buckets[0.5].mean == 2.0
    assert buckets[1.0].count == 3


def test_coefficients_are_found_again() -> None:
    """From rewards drawn around known curves the fit comes back to them, and says from where on Std is not positive."""
    fit = fit_log_regression(_completions(4000))
    assert (fit.w_mu, fit.b_mu) == pytest.approx((0.7, 0.4), abs=0.06)
    assert (fit.w_sig, fit.b_sig) == pytest.approx((0.2, 2.0), abs=0.06)
    assert fit.values == sum(bucket.count for bucket in fit.buckets)
    assert fit.std_zero_at is not None
    assert fit.std_at(1 / fit.std_zero_at) <= 0 < fit.std_at(1 / (fit.std_zero_at - 1))


def test_weights_make_full_buckets_count_more() -> None:
    """A few values off the line bend the unweighted fit and leave the weighted one."""
    buckets = [Bucket(p, 1000, math.log(p), 1.0) for p in (0.25, 0.5, 0.75, 1.0)]
    strays = [Bucket(p, 1, 3.0, 1.0) for p in (0.1, 0.15, 0.2)]
    plain, weighted = (regressed([*strays, *buckets], weighted=choice) for choice in (False, True))
    assert weighted.w_mu == pytest.approx(1.0, abs=0.05)
    assert abs(plain.w_mu - 1.0) > 0.2


@pytest.mark.parametrize(
    ("w_sig", "b_sig", "segments"),
    [
        (0.9906, 5.4513, 246),
        (0.5680, 4.1667, 1535),
        (0.4780, 3.7358, 2479),
        (0.6254, 4.9217, 2617),
        (0.3796, 3.5006, 10116),
        # exp(2.8339 / .2569) is 61767.99; the 1e-10 that is added to progress moves it by a segment
        (0.2569, 2.8339, 61769),
        (0.05, 2.0, None),
        (0.0, 1.0, None),
        (-0.5, 1.0, None),
        (0.3, -0.1, 1),
    ],
)
def test_the_length_at_which_std_reaches_zero(w_sig: float, b_sig: float, segments: int | None) -> None:
    """The crossings of the published coefficients (papers.md 2.3), and lines that never cross or never were above."""
    assert std_zero_at(w_sig, b_sig) == segments


def test_too_few_progresses_are_refused() -> None:
    """Two buckets make no curve; the message says what to do."""
    with pytest.raises(ValueError, match="a lower c_ent cuts more"):
        fit_log_regression([[1.0, 2.0], [3.0]])


def test_what_has_no_spread_or_is_no_number_is_refused() -> None:
    """Equal rewards cannot be divided by their deviation, nothing can be fitted to infinity or to nothing."""
    for completions in ([[1.0], [1.0]], [], [[math.nan], [1.0]]):
        with pytest.raises(ValueError, match="without a spread"):
            fit_affine(completions)
    with pytest.raises(ValueError, match="a raw reward is inf"):
        buckets_of([[1.0, math.inf]])


def test_the_file_says_of_which_model_and_data_it_is(tmp_path: Path) -> None:
    """Format, models, cuts, coefficients and buckets are in the file, and each fit has a picture beside it."""
    completions = _completions(300)
    scored = {
        Cut(c_ent=2.0): completions,
        Cut(boundary_mode=BoundaryMode.BANDIT): [[row[-1]] for row in completions],
    }
    out = tmp_path / "fit.json"
    made = fit_normalizer(
        scored,
        model=ModelRef("segment", "sha256:1"),
        entropy_model=ModelRef("entropy", "sha256:2"),
        service_version="9",
        data_sha256="sha256:3",
        out=out,
    )
    content = json.loads(out.read_text())
    assert content == json.loads(json.dumps(made))
    assert content["format"] == "assay-normalizer/1"
    assert content["model"] == {"name": "segment", "revision": "sha256:1"}
    assert content["entropy_model"] == {"name": "entropy", "revision": "sha256:2"}
    assert content["data"] == {"sha256": "sha256:3", "completions": 300}
    curve, bandit = content["fits"]
    assert curve["kind"] == "log_regression"
    assert curve["cut"] == {
        "segmenter": "entropy",
        "boundary_mode": "segment",
        "c_ent": 2.0,
        "segment_length": 32,
    }
    again = fit_log_regression(completions)
    assert [curve[key] for key in ("w_mu", "w_sig", "b_mu", "b_sig")] == [
        again.w_mu,
        again.w_sig,
        again.b_mu,
        again.b_sig,
    ]
    assert set(curve["buckets"][0]) == {"progress", "count", "mean", "std"}
    assert bandit["kind"] == "affine"
    assert bandit["cut"]["boundary_mode"] == "bandit"
    assert bandit["mean"] == pytest.approx(np.mean([row[-1] for row in completions]))
    for picture in ("fit-1.png", "fit-2.png"):
        header = (tmp_path / picture).read_bytes()[:24]
        assert header[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", header[16:24]) == (960, 600)
