"""What the trainings add to TRL's trainers: batches by length, a line of progress, and the time that was spent."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import Sampler
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from .batching import LengthGroupedSampler


class LengthGroupedTrainer(Trainer):
    """To be mixed in before one of TRL's trainers: batches have rows of nearly one length.

    It prints how it goes, counts the time over resumes, and writes and sends nothing of TRL's own.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: Dataset,
        lengths: Sequence[int],
        collate: Callable[[Sequence[Any]], dict[str, Tensor]],
        arguments: TrainingArguments,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """``lengths`` are the tokens of each row."""
        self._lengths = lengths
        super().__init__(
            model=model,
            args=arguments,
            data_collator=collate,
            train_dataset=rows,
            processing_class=tokenizer,
            optimizers=(optimizer, None),
        )
        self.remove_callback(PrinterCallback)
        self._started = time.monotonic()
        self._spent_s: float | None = None

    def figures(self, logs: dict[str, float]) -> str:
        """What a line of progress says besides the loss."""
        raise NotImplementedError

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Print a line of progress, and keep in the checkpoints for how long was trained."""
        if "loss" in logs:
            logs["training_time_s"] = self.training_time_s
        super().log(logs, start_time)
        if "loss" in logs:
            print(
                f"step {self.state.global_step}/{self.state.max_steps} loss {logs['loss']:.4f} "
                f"{self.figures(logs)} rate {logs['learning_rate']:.2e} {self.training_time_s:.0f} s",
                flush=True,
            )

    @property
    def training_time_s(self) -> float:
        """Seconds trained, those before a resume included as far as they were logged."""
        if self._spent_s is None:
            self._spent_s = max(
                (entry.get("training_time_s", 0.0) for entry in self.state.log_history), default=0.0
            )
        return self._spent_s + time.monotonic() - self._started

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None of TRL's: ours is written at the end."""

    def _send_telemetry(self) -> None:
        """Nothing is sent to anyone."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return LengthGroupedSampler(self._lengths, self.args.train_batch_size, self.args.seed)
