"""The card of a segment reward model, ``assay.json``: how it was made, and what it reached on held-out pairs."""

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from .held_out import HeldOut
from .plan import Plan

CARD: Final = "assay.json"
FORMAT: Final = "assay-segment-rm/1"
PACKAGES: Final = ("assay", "torch", "transformers", "trl")


def card_of(
    plan: Plan, *, counts: dict[str, Any], held_out: HeldOut, steps: int, training_time_s: float
) -> dict[str, Any]:
    """The card; ``plan`` in it tells whether a call asks for this very model."""
    reading, schedule = plan.reading, plan.schedule
    return {
        "format": FORMAT,
        "base": asdict(plan.base),
        "entropy_model": None if plan.entropy_model is None else plan.entropy_model.identity(),
        "cut": asdict(reading.cut),
        "max_length": reading.max_length,
        "max_prompt_length": reading.max_prompt_length,
        "pairs": {**counts, "sha256": plan.pairs_sha256},
        "held_out": {**asdict(held_out), "source": plan.held_out},
        "training": {key: value for key, value in asdict(schedule).items() if key != "seed"},
        "seed": schedule.seed,
        "steps": steps,
        "training_time_s": round(training_time_s, 1),
        "versions": {name: version(name) for name in PACKAGES},
        "plan": plan.digest,
    }


def read_card(out: Path) -> dict[str, Any] | None:
    """The card of a finished training, None where there is none."""
    path = out / CARD
    if not path.is_file():
        return None
    card: dict[str, Any] = json.loads(path.read_text())
    return card


def write_card(out: Path, card: dict[str, Any]) -> dict[str, Any]:
    """Write the last file of a training: where it stands, all others do. The card as it reads is returned."""
    unfinished = out / f"{CARD}.tmp"
    unfinished.write_text(json.dumps(card, indent=2) + "\n")
    unfinished.replace(out / CARD)
    written: dict[str, Any] = json.loads((out / CARD).read_text())
    return written
