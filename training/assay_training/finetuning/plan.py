"""What one training is: everything that decides which weights come out, whatever is trained."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from assayd.domain.provenance import ModelRef

from .optimizers import OptimizerName


class Schedule(Protocol):
    """How the weights move; the sizes of batches are counted in whatever is trained on, and not among these."""

    @property
    def epochs(self) -> float:
        """How often everything is seen; a part of an epoch is allowed."""

    @property
    def learning_rate(self) -> float:
        """The peak of the rate."""

    @property
    def warmup(self) -> float:
        """The share of the steps in which the rate rises."""

    @property
    def optimizer(self) -> OptimizerName:
        """The rule that moves the weights."""

    @property
    def dtype(self) -> str:
        """What is computed in; the weights are float32."""

    @property
    def seed(self) -> int:
        """The same seed gives the same weights."""

    @property
    def activation_checkpointing(self) -> bool:
        """Less memory for more time."""


def check_schedule(schedule: Schedule, *, batch: int, micro_batch: int, of: str) -> None:
    """Raise ``ValueError`` for sizes or a dtype that cannot be trained with; ``of`` is what a batch has so many of."""
    if batch % micro_batch:
        raise ValueError(f"a batch of {batch} {of} does not fall into micro-batches of {micro_batch}")
    if schedule.dtype not in ("float32", "bfloat16"):
        raise ValueError(f"unknown dtype {schedule.dtype!r}: train in float32 or bfloat16")


@dataclass(frozen=True, slots=True)
class BasePlan:
    """The fields are those of a kind of training, ``schedule`` and ``held_out`` among them; all of them count."""

    def as_json(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        models = {
            field.name: model.identity()
            for field in fields(self)
            if isinstance(model := getattr(self, field.name), ModelRef)
        }
        return asdict(self) | models

    @property
    def digest(self) -> str:
        """What tells this training from others."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()
