"""What the cards of the embedded models, ``card.json`` beside their weights, have in common."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import LlamaForCausalLM

from .pocket_model import parameter_count


@dataclass(frozen=True, slots=True)
class About:
    """What a model is for, and what it cannot do."""

    name: str
    version: str
    domain: str
    limits: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """What a card begins with."""
        return asdict(self) | {"limits": list(self.limits)}


@dataclass(frozen=True, slots=True)
class Making:
    """How the weights came to be."""

    seed: int
    steps: int
    workers: int
    training_time_s: float

    def as_json(self) -> dict[str, Any]:
        """The same, in whole seconds."""
        return asdict(self) | {"training_time_s": round(self.training_time_s)}


def size_of(model: LlamaForCausalLM) -> dict[str, Any]:
    """Layers, width and heads in words, and the number of weights."""
    config = model.config
    return {
        "architecture": f"Llama, {config.num_hidden_layers} layers of width {config.hidden_size}, "
        f"{config.num_attention_heads} heads of {config.head_dim}, tied embeddings",
        "parameters": parameter_count(model),
    }


def write_card(directory: Path, card: dict[str, Any]) -> None:
    """Write ``card.json``."""
    (directory / "card.json").write_text(json.dumps(card, indent=2) + "\n")
