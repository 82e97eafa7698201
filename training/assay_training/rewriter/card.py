"""The card of a rewriter, ``assay.json``: how it was made, and what it reached on held-out rows."""

from dataclasses import asdict
from importlib.metadata import version
from typing import Any, Final

from ..segment_rm.card import PACKAGES
from .held_out import HeldOut
from .plan import Plan

FORMAT: Final = "assay-rewriter/1"


def card_of(
    plan: Plan, *, counts: dict[str, Any], held_out: HeldOut, steps: int, training_time_s: float
) -> dict[str, Any]:
    """The card; ``plan`` in it tells whether a call asks for this very model."""
    schedule = plan.schedule
    return {
        "format": FORMAT,
        "base": asdict(plan.base),
        "prompts": {"locate": asdict(plan.locate), "fix": asdict(plan.fix)},
        "max_length": plan.max_length,
        "rows": {**counts, "sha256": plan.rows_sha256},
        "held_out": {**asdict(held_out), "source": plan.held_out},
        "training": {key: value for key, value in asdict(schedule).items() if key != "seed"},
        "seed": schedule.seed,
        "steps": steps,
        "training_time_s": round(training_time_s, 1),
        "versions": {name: version(name) for name in PACKAGES},
        "plan": plan.digest,
    }
