"""The card of a model, ``assay.json``: how it was made, and what it reached on what was held out."""

import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from .plan import BasePlan

CARD: Final = "assay.json"
PACKAGES: Final = ("assay", "torch", "transformers", "trl")


def record_of(
    plan: BasePlan, *, held_out: dict[str, Any], steps: int, training_time_s: float
) -> dict[str, Any]:
    """How a training went, which is what its card ends with; ``plan`` in it tells it from others."""
    told = plan.as_json()
    schedule = told["schedule"]
    return {
        "held_out": {**held_out, "source": told["held_out"]},
        "training": {key: value for key, value in schedule.items() if key != "seed"},
        "seed": schedule["seed"],
        "steps": steps,
        "training_time_s": round(training_time_s, 1),
        "versions": versions_of(PACKAGES),
        "plan": plan.digest,
    }


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """What is installed of some distributions."""
    return {name: version(name) for name in packages}


def finished_card(out: Path, plan: BasePlan) -> dict[str, Any] | None:
    """The card of this very training where it is finished; ``ValueError`` where ``out`` holds another's model."""
    card = read_card(out)
    if card is not None and card["plan"] != plan.digest:
        raise ValueError(
            f"{out} holds the model of another training: train with resume off to replace it, or elsewhere"
        )
    return card


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
