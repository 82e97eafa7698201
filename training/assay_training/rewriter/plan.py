"""What one training of a rewriter is: everything that decides which weights come out."""

from dataclasses import dataclass

from assayd.domain.provenance import ModelRef, PromptRef

from ..finetuning.optimizers import OptimizerName
from ..finetuning.plan import BasePlan, check_schedule


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
        check_schedule(self, batch=self.batch_size, micro_batch=self.micro_batch_size, of="exercises")


@dataclass(frozen=True, slots=True)
class Plan(BasePlan):
    """The base, the data (as digests), how rows are shown, and how they are trained on."""

    base: ModelRef
    locate: PromptRef
    fix: PromptRef
    max_length: int
    schedule: Schedule
    rows_sha256: str
    held_out: float | str
