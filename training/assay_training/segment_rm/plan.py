"""What one training is: everything that decides which weights come out."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from assayd.domain.provenance import ModelRef

from .examples import Reading
from .optimizers import OptimizerName


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the weights move. ``warmup`` is a share of the steps; the rate falls to a tenth of its peak on a cosine."""

    epochs: float
    batch_pairs: int
    micro_batch_pairs: int
    learning_rate: float
    warmup: float
    optimizer: OptimizerName
    dtype: str
    seed: int
    freeze: tuple[str, ...]
    activation_checkpointing: bool

    def __post_init__(self) -> None:
        if self.batch_pairs % self.micro_batch_pairs:
            raise ValueError(
                f"a batch of {self.batch_pairs} pairs does not fall into micro-batches of {self.micro_batch_pairs}"
            )
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"unknown dtype {self.dtype!r}: train in float32 or bfloat16")


@dataclass(frozen=True, slots=True)
class Plan:
    """The models, the data (as digests), and how they are read and trained on."""

    base: ModelRef
    entropy_model: ModelRef | None
    reading: Reading
    schedule: Schedule
    pairs_sha256: str
    held_out: float | str

    def as_json(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        return asdict(self)

    @property
    def digest(self) -> str:
        """What tells this training from others."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()
