"""Brings raw segment rewards to one scale, by where in the completion a segment ends (papers.md 2.3).

``NORMALIZERS`` holds the coefficients that the paper's code publishes. They belong to one model and one way to cut:
for any other there is nothing to look up, and whoever asks is told so. Nothing here falls back on (0, 1).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

from annotated_types import Gt

from ..domain.failure import AnnotationFailed, FailureKind
from .cutting import BoundaryMode, Cut

FLOOR_SHARE: Final = 0.1
"""The default floor of the deviation, as a share of the deviation at the end of a completion."""
_TINY: Final = 1e-10
_WIRE: Final[dict[str, Any]] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRegression:
    """Mean and deviation are lines in the logarithm of progress: ``w * ln(p) + b``."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _WIRE

    kind: Literal["log_regression"] = "log_regression"
    w_mu: float
    w_sig: float
    b_mu: float
    b_sig: float

    def moments(self, progress: float) -> tuple[float, float]:
        """Mean and deviation at ``progress`` in (0, 1]; far from the end the deviation may be zero or less."""
        place = math.log(progress + _TINY)
        return self.w_mu * place + self.b_mu, self.w_sig * place + self.b_sig


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """One mean and one deviation everywhere."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _WIRE

    kind: Literal["affine"] = "affine"
    mean: float
    std: Annotated[float, Gt(0)]

    def moments(self, progress: float) -> tuple[float, float]:
        """The same at every ``progress``."""
        return self.mean, self.std


Scale: TypeAlias = LogRegression | Affine

IDENTITY: Final = Affine(mean=0.0, std=1.0)
"""``"none"`` on the wire: a reward is its raw value."""

_TOKENS: Final = Cut(boundary_mode=BoundaryMode.TOKEN)
_BANDIT: Final = Cut(boundary_mode=BoundaryMode.BANDIT)


def _peaks(rows: Mapping[float, tuple[float, float, float, float]]) -> dict[Cut, Scale]:
    """Coefficients in the order in which the released ``param.json`` has them, by cutoff; 0 is token by token."""
    fits: dict[Cut, Scale] = {}
    for c_ent, (w_mu, w_sig, b_mu, b_sig) in rows.items():
        fit = LogRegression(w_mu=w_mu, w_sig=w_sig, b_mu=b_mu, b_sig=b_sig)
        fits[Cut(c_ent=c_ent)] = fit
        if c_ent == 0:
            fits[_TOKENS] = fit
    return fits


NORMALIZERS: Final[Mapping[str, Mapping[Cut, Scale]]] = {
    "phi3-instruct": {
        **_peaks(
            {
                2.0: (0.7209, 0.2330, 0.6055, 2.6555),
                1.75: (0.7668, 0.2569, 0.4705, 2.8339),
                0.0: (0.9628, 0.3796, 1.2917, 3.5006),
            }
        ),
        _BANDIT: Affine(mean=-0.51953125, std=2.15625),
    },
    "rlhflow_llama_3_sft_8b_v2": {
        **_peaks({2.0: (0.8967, 0.5680, 0.8572, 4.1667), 0.0: (1.7340, 0.9906, 1.3212, 5.4513)}),
        _BANDIT: Affine(mean=-0.81640625, std=2.953125),
    },
    "meta_llama_3_1_instruct_8b": {
        **_peaks({2.0: (0.8345, 0.4780, 0.8798, 3.7358), 0.0: (1.6268, 0.6254, 0.6419, 4.9217)}),
        _BANDIT: Affine(mean=-0.828125, std=2.9375),
    },
}


@dataclass(frozen=True, slots=True)
class Normalized:
    """One raw reward on the common scale, and by what it was brought there."""

    reward: float
    mean: float
    std: float
    floored: bool


def normalize(raw: float, progress: float, scale: Scale, floor: float | None) -> Normalized:
    """``(raw - mean) / std`` at ``progress``, with a deviation of at least ``floor`` (None: as it comes).

    Without a floor long completions may meet a deviation below zero, which flips the sign of the reward, as in the
    released code. Raises ``AnnotationFailed`` (``invalid``) for one of exactly zero.
    """
    mean, std = scale.moments(progress)
    floored = floor is not None and std < floor
    if floor is not None and floored:
        std = floor
    if std == 0:
        raise AnnotationFailed(
            FailureKind.INVALID,
            f"the normalizer's deviation at progress {progress:.6g} is 0: set options.std_floor",
        )
    return Normalized((raw - mean) / std, mean, std, floored)
