"""The card of a rewriter: how it was made, and what it reached on held-out rows."""

from dataclasses import asdict
from typing import Any, Final

from ..finetuning.card import record_of
from .held_out import HeldOut
from .plan import Plan

FORMAT: Final = "assay-rewriter/1"


def card_of(
    plan: Plan, *, counts: dict[str, Any], held_out: HeldOut, steps: int, training_time_s: float
) -> dict[str, Any]:
    """The card; ``plan`` in it tells whether a call asks for this very model."""
    return {
        "format": FORMAT,
        "base": plan.base.identity(),
        "prompts": {"locate": asdict(plan.locate), "fix": asdict(plan.fix)},
        "max_length": plan.max_length,
        "rows": {**counts, "sha256": plan.rows_sha256},
        **record_of(plan, held_out=asdict(held_out), steps=steps, training_time_s=training_time_s),
    }
