"""The file that ``assayd fit-normalizer`` writes: one model's coefficients, a fit for each way to cut."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..domain.provenance import ModelRef
from .cutting import BoundaryMode, Cut, Segmenter
from .normalizers import Affine, LogRegression, Scale

FORMAT: Final = "assay-normalizer/1"
_PLAIN: Final = Cut()


@dataclass(frozen=True, slots=True)
class Fitted:
    """Coefficients by way to cut, and the model whose raw rewards they were fitted to."""

    model: ModelRef
    fits: Mapping[Cut, Scale]

    def refuse_other(self, model: ModelRef) -> None:
        """Raise ``ValueError`` unless this was fitted to ``model``: another one has another scale."""
        if self.model.revision != model.revision:
            raise ValueError(
                f"the normalizer was fitted to {self.model.name} at {self.model.revision}, but the segment model is "
                f"{model.name} at {model.revision}: fit it anew with `assayd fit-normalizer`"
            )


def parse_fitted(text: str) -> Fitted:
    """Read a normalizer file. Raises ``ValueError`` that says what is wrong with it."""
    try:
        data = json.loads(text)
        if data.get("format") != FORMAT:
            raise ValueError(f"its format is {data.get('format')!r}, this service reads {FORMAT!r}")
        model = ModelRef(data["model"]["name"], data["model"]["revision"])
        return Fitted(model, {parse_cut(fit["cut"]): _scale(fit) for fit in data["fits"]})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"no normalizer file: {type(error).__name__}: {error}") from error


def parse_cut(data: Mapping[str, Any]) -> Cut:
    """A way to cut as it stands in files; absent fields have their defaults."""
    return Cut(
        segmenter=Segmenter(data.get("segmenter", Segmenter.ENTROPY)),
        boundary_mode=BoundaryMode(data.get("boundary_mode", BoundaryMode.SEGMENT)),
        c_ent=float(data.get("c_ent", _PLAIN.c_ent)),
        segment_length=int(data.get("segment_length", _PLAIN.segment_length)),
    ).settled


def _scale(fit: Mapping[str, Any]) -> Scale:
    match fit["kind"]:
        case "log_regression":
            w_mu, w_sig, b_mu, b_sig = (float(fit[name]) for name in ("w_mu", "w_sig", "b_mu", "b_sig"))
            return LogRegression(w_mu=w_mu, w_sig=w_sig, b_mu=b_mu, b_sig=b_sig)
        case "affine":
            return Affine(mean=float(fit["mean"]), std=float(fit["std"]))
        case kind:
            raise ValueError(f"unknown kind of fit {kind!r}")
