"""What one training is: everything that decides which weights come out."""

from dataclasses import dataclass

from assayd.domain.provenance import ModelRef

from ..finetuning.optimizers import OptimizerName
from ..finetuning.plan import BasePlan, check_schedule
from .examples import Reading


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
        check_schedule(self, batch=self.batch_pairs, micro_batch=self.micro_batch_pairs, of="pairs")


@dataclass(frozen=True, slots=True)
class Plan(BasePlan):
    """The models, the data (as digests), and how they are read and trained on."""

    base: ModelRef
    entropy_model: ModelRef | None
    reading: Reading
    schedule: Schedule
    pairs_sha256: str
    held_out: float | str
