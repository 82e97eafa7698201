"""The card of a segment reward model: how it was made, and what it reached on held-out pairs."""

from dataclasses import asdict
from typing import Any, Final

from ..finetuning.card import record_of
from .held_out import HeldOut
from .plan import Plan

FORMAT: Final = "assay-segment-rm/1"


def card_of(
    plan: Plan, *, counts: dict[str, Any], held_out: HeldOut, steps: int, training_time_s: float
) -> dict[str, Any]:
    """The card; ``plan`` in it tells whether a call asks for this very model."""
    reading = plan.reading
    return {
        "format": FORMAT,
        "base": plan.base.identity(),
        "entropy_model": None if plan.entropy_model is None else plan.entropy_model.identity(),
        "cut": asdict(reading.cut),
        "max_length": reading.max_length,
        "max_prompt_length": reading.max_prompt_length,
        "pairs": {**counts, "sha256": plan.pairs_sha256},
        **record_of(plan, held_out=asdict(held_out), steps=steps, training_time_s=training_time_s),
    }
