"""What one rollout looks like to the rewriter: the texts that fill its prompts, defanged and fenced."""

from collections.abc import Mapping
from typing import Final

from ...domain.rollout import Rollout
from ..exhibit import prompt_text
from ..prompting import defang, fence_for
from .lines import labelled

PLACEHOLDERS: Final = frozenset(
    "question reference prediction reference_steps prediction_steps remarks fence base base_next".split()
)
"""What a rewriter's prompt may ask for."""


def texts_of(
    rollout: Rollout, *, separator: str = "\n", base: int = 0, remarks: str = ""
) -> Mapping[str, str]:
    """What fills each placeholder. ``base`` is the first label; ``remarks`` are a critic's, put in as they are."""
    reference, prediction = rollout.reference or "", rollout.completion.text
    shown = {
        "question": defang(prompt_text(rollout.prompt)),
        "reference": defang(reference),
        "prediction": defang(prediction),
        "reference_steps": labelled(reference, separator, base),
        "prediction_steps": labelled(prediction, separator, base),
        "remarks": defang(remarks),
    }
    numbers = {"base": str(base), "base_next": str(base + 1)}
    return {**shown, **numbers, "fence": fence_for(*shown.values())}
