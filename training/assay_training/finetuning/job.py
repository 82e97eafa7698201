"""What every training is told besides its plan, and what it does with that: begin in a folder, save a model there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from .card import CARD
from .checkpoints import Checkpoints, Planned
from .devices import DTYPES, device_of
from .plan import Schedule

LARGEST_GRADIENT: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseJob:
    """Where the base lies and the model goes, and what does not change the weights; a kind adds its plan and data."""

    base: str
    out: Path
    device: str
    saved_dtype: str
    save_steps: int
    log_steps: int

    def __post_init__(self) -> None:
        if self.saved_dtype not in DTYPES:
            raise ValueError(f"unknown dtype {self.saved_dtype!r}: save in {', '.join(DTYPES)}")

    @property
    def torch_device(self) -> torch.device:
        """Where the training computes."""
        return device_of(self.device)

    def begin(self, plan: Planned, *, resume: bool) -> Checkpoints:
        """The folder for checkpoints; a card of what is to be replaced is gone."""
        (self.out / CARD).unlink(missing_ok=True)
        return Checkpoints.open(self.out, plan, resume=resume)

    def arguments(
        self, schedule: Schedule, checkpoints: Checkpoints, *, batch: int, micro_batch: int
    ) -> dict[str, Any]:
        """What TRL is told in every training: nothing is prepared, cut, shown or sent anywhere by it."""
        on_cpu = self.torch_device.type == "cpu"
        return {
            "output_dir": str(checkpoints.path),
            "num_train_epochs": schedule.epochs,
            "per_device_train_batch_size": micro_batch,
            "gradient_accumulation_steps": batch // micro_batch,
            "learning_rate": schedule.learning_rate,
            "warmup_steps": schedule.warmup,
            "max_grad_norm": LARGEST_GRADIENT,
            "bf16": schedule.dtype == "bfloat16",
            "use_cpu": on_cpu,
            "activation_checkpointing": schedule.activation_checkpointing,
            "seed": schedule.seed,
            "save_steps": self.save_steps,
            "save_total_limit": 2,
            "logging_steps": self.log_steps,
            "logging_nan_inf_filter": False,
            "disable_tqdm": True,
            "report_to": [],
            "max_length": None,
            "remove_unused_columns": False,
            "dataloader_pin_memory": not on_cpu,
        }

    def save(self, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        """Write weights in the dtype to save in, config and tokenizer; the model itself is turned into that dtype."""
        dtype = DTYPES[self.saved_dtype]
        nn.Module.to(model, dtype)
        model.config.dtype = dtype
        model.save_pretrained(str(self.out))
        tokenizer.save_pretrained(str(self.out))
        for path in self.out.glob("*.safetensors"):
            path.chmod(0o644)  # written for its owner only
