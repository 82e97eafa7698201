"""What one training of a rewriter is: everything that decides which weights come out."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from assayd.domain.provenance import ModelRef, PromptRef

from ..segment_rm.optimizers import OptimizerName


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the weights move, in batches of exercises. ``warmup`` is a share of the steps; the rate falls on a cosine."""

    epochs: float
    batch_size: int
    micro_batch_size: int
    learning_rate: float
    warmup: float
    optimizer: OptimizerName
    dtype: str
    seed: int
    activation_checkpointing: bool

    def __post_init__(self) -> None:
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"a batch of {self.batch_size} does not fall into micro-batches of {self.micro_batch_size}"
            )
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"unknown dtype {self.dtype!r}: train in float32 or bfloat16")


@dataclass(frozen=True, slots=True)
class Plan:
    """The base, the data (as digests), how rows are shown, and how they are trained on."""

    base: ModelRef
    locate: PromptRef
    fix: PromptRef
    max_length: int
    schedule: Schedule
    rows_sha256: str
    held_out: float | str

    def as_json(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        return asdict(self)

    @property
    def digest(self) -> str:
        """What tells this training from others."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()
