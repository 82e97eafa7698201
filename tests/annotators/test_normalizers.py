"""Bringing raw segment rewards to one scale."""

import json
import math

import pytest

from assayd.annotators.cutting import BoundaryMode, Cut, Segmenter
from assayd.annotators.fitted import parse_fitted
from assayd.annotators.normalizers import NORMALIZERS, Affine, LogRegression, normalize
from assayd.domain.failure import AnnotationFailed
from assayd.domain.provenance import ModelRef

PHI3 = NORMALIZERS["phi3-instruct"][Cut(c_ent=1.75)]
LLAMA3_TOKENS = NORMALIZERS["rlhflow_llama_3_sft_8b_v2"][Cut(boundary_mode=BoundaryMode.TOKEN)]


@pytest.mark.parametrize(
    ("progress", "raw", "mean", "std", "reward"),
    [
        (0.25, 0.5, -0.592511, 2.477761, 0.440927),
        (0.5, -0.2, -0.061005, 2.655830, -0.052336),
        (0.75, 1.0, 0.249905, 2.759994, 0.271774),
        (1.0, 2.0, 0.470500, 2.833900, 0.539716),
    ],
)
def test_the_published_line_in_log_progress(
    progress: float, raw: float, mean: float, std: float, reward: float
) -> None:
    """S1, Phi-3 at 1.75."""
    normalized = normalize(raw, progress, PHI3, floor=None)
    assert (normalized.mean, normalized.std, normalized.reward) == pytest.approx(
        (mean, std, reward), abs=1e-6
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("phi3-instruct", 0.70471),
        ("rlhflow_llama_3_sft_8b_v2", 0.615079),
        ("meta_llama_3_1_instruct_8b", 0.62234),
    ],
)
def test_the_published_constants_of_the_bandit(name: str, expected: float) -> None:
    """S5: a raw value of 1."""
    scale = NORMALIZERS[name][Cut(boundary_mode=BoundaryMode.BANDIT)]
    assert normalize(1.0, 1.0, scale, floor=None).reward == pytest.approx(expected, abs=1e-5)


def test_the_deviation_is_floored_where_the_line_crosses_zero() -> None:
    """S8: token by token the published line is below zero from 246 tokens on."""
    _, just_above = LLAMA3_TOKENS.moments(1 / 245)
    _, just_below = LLAMA3_TOKENS.moments(1 / 246)
    assert (just_above, just_below) == pytest.approx((0.001754, -0.002281), abs=1e-6)
    floored = normalize(0.0, 1 / 246, LLAMA3_TOKENS, floor=0.5)
    assert (floored.std, floored.floored) == (0.5, True)
    flipped = normalize(1e9, 1 / 246, LLAMA3_TOKENS, floor=None)
    assert flipped.reward < 0  # the released code


def test_a_deviation_of_zero_fails_the_rollout_and_names_the_way_out() -> None:
    """Never a division by zero, never an infinite reward."""
    with pytest.raises(AnnotationFailed, match="std_floor"):
        normalize(1.0, 1.0, LogRegression(w_mu=0, w_sig=0, b_mu=0, b_sig=0), floor=None)


def test_coefficients_belong_to_one_way_to_cut() -> None:
    """The published tables know their cutoffs and nothing in between."""
    assert Cut(c_ent=1.9) not in NORMALIZERS["phi3-instruct"]
    assert Cut(segmenter=Segmenter.SENTENCE) not in NORMALIZERS["phi3-instruct"]
    assert NORMALIZERS["phi3-instruct"][Cut(c_ent=0.0)] == LogRegression(
        w_mu=0.9628, w_sig=0.3796, b_mu=1.2917, b_sig=3.5006
    )


def test_zero_crossings_of_the_published_lines() -> None:
    """Std reaches zero at the lengths that papers.md 2.3 lists."""
    crossings = {}
    for name, fits in NORMALIZERS.items():
        for how, scale in fits.items():
            if isinstance(scale, LogRegression) and how.needs_entropies:
                crossings[name, how.c_ent] = math.ceil(math.exp(scale.b_sig / scale.w_sig))
    assert crossings["rlhflow_llama_3_sft_8b_v2", 2.0] == 1535
    assert crossings["meta_llama_3_1_instruct_8b", 2.0] == 2479
    assert crossings["meta_llama_3_1_instruct_8b", 0.0] == 2617
    assert crossings["phi3-instruct", 0.0] == 10116
    assert crossings["phi3-instruct", 1.75] == 61768


FILE = {
    "format": "assay-normalizer/1",
    "model": {"name": "m", "revision": "sha256:1"},
    "fits": [
        {"cut": {"c_ent": 2.0}, "kind": "log_regression", "w_mu": 1, "w_sig": 2, "b_mu": 3, "b_sig": 4},
        {"cut": {"boundary_mode": "bandit"}, "kind": "affine", "mean": 1, "std": 2},
    ],
}


def test_a_fitted_file_carries_one_fit_for_each_way_to_cut() -> None:
    """And is refused for a model of another revision."""
    fitted = parse_fitted(json.dumps(FILE))
    assert fitted.fits[Cut(c_ent=2.0)] == LogRegression(w_mu=1, w_sig=2, b_mu=3, b_sig=4)
    assert fitted.fits[Cut(boundary_mode=BoundaryMode.BANDIT)] == Affine(mean=1, std=2)
    fitted.refuse_other(ModelRef("elsewhere", "sha256:1"))
    with pytest.raises(ValueError, match="fit it anew"):
        fitted.refuse_other(ModelRef("m", "sha256:2"))


@pytest.mark.parametrize(
    "broken",
    [
        {**FILE, "format": "assay-normalizer/2"},
        {**FILE, "fits": [{"cut": {}, "kind": "log_regression", "w_mu": 1}]},
        {**FILE, "fits": [{"cut": {}, "kind": "cubic"}]},
        {"format": "assay-normalizer/1"},
        [],
    ],
)
def test_a_broken_file_is_refused(broken: object) -> None:
    """Missing coefficients are never made up."""
    with pytest.raises(ValueError, match="no normalizer file"):
        parse_fitted(json.dumps(broken))
