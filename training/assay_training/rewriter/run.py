"""One training of a rewriter from its plan to the files that are served."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase
from trl.trainer.sft_config import SFTConfig

from ..segment_rm.card import CARD, write_card
from ..segment_rm.checkpoints import Checkpoints
from ..segment_rm.models import load_tokenizer
from ..segment_rm.run import DTYPES, LARGEST_GRADIENT
from .asking import Asking
from .card import card_of
from .correcting import Corrector
from .examples import Example, make_examples
from .held_out import HeldOut, measure, split
from .models import load_language_model, make_optimizer
from .plan import Plan
from .rows import Row
from .trainer import RewriterTrainer


@dataclass(frozen=True, slots=True)
class Job:
    """A plan with its data, where its base lies, and what does not change the weights."""

    plan: Plan
    base: str
    asking: Asking
    rows: Sequence[Row]
    held_out: Sequence[Row]
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
        """``auto`` is CUDA where torch sees one."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)


def run(job: Job, *, resume: bool, keep_checkpoints: bool) -> dict[str, Any]:
    """Show, train, save, measure what was saved; the card is written last and returned."""
    plan = job.plan
    (job.out / CARD).unlink(missing_ok=True)
    # It asks a plan for its JSON and nothing else.
    checkpoints = Checkpoints.open(job.out, cast(Any, plan), resume=resume)
    tokenizer = load_tokenizer(job.base)
    share = plan.held_out
    trained_on, measured_on = (
        (job.rows, job.held_out) if isinstance(share, str) else split(job.rows, share, plan.schedule.seed)
    )
    made = make_examples(trained_on, tokenizer, job.asking, plan.max_length)
    if not made.kept:
        raise ValueError(f"no row is left to train on; dropped: {dict(made.dropped)}")
    print(
        f"{len(made.kept)} exercises of {len(trained_on)} rows to train on, {len(measured_on)} rows held out, "
        f"dropped {dict(made.dropped)}",
        flush=True,
    )
    trainer = _trainer(job, tokenizer, made.kept, checkpoints)
    trainer.train(resume_from_checkpoint=checkpoints.last())
    _save(job, trainer.model, tokenizer)
    card = card_of(
        plan,
        counts={"read": len(job.rows), "trained": len(trained_on), "dropped": dict(made.dropped)},
        held_out=_measured_as_saved(job, measured_on),
        steps=trainer.state.global_step,
        training_time_s=trainer.training_time_s,
    )
    card = write_card(job.out, card)
    if not keep_checkpoints:
        checkpoints.remove()
    return card


def _trainer(
    job: Job, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], checkpoints: Checkpoints
) -> RewriterTrainer:
    schedule, device = job.plan.schedule, job.torch_device
    model = load_language_model(job.base)
    nn.Module.to(model, device)
    arguments = SFTConfig(
        output_dir=str(checkpoints.path),
        num_train_epochs=schedule.epochs,
        per_device_train_batch_size=schedule.micro_batch_size,
        gradient_accumulation_steps=schedule.batch_size // schedule.micro_batch_size,
        learning_rate=schedule.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=schedule.warmup,
        max_grad_norm=LARGEST_GRADIENT,
        bf16=schedule.dtype == "bfloat16",
        use_cpu=device.type == "cpu",
        activation_checkpointing=schedule.activation_checkpointing,
        seed=schedule.seed,
        save_steps=job.save_steps,
        save_total_limit=2,
        logging_steps=job.log_steps,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=[],
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        dataloader_pin_memory=device.type != "cpu",
    )
    optimizer = make_optimizer(model, schedule.optimizer, schedule.learning_rate)
    return RewriterTrainer(model, tokenizer, examples, arguments, optimizer)


def _save(job: Job, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    nn.Module.to(model, DTYPES[job.saved_dtype])
    model.config.dtype = DTYPES[job.saved_dtype]
    model.config.use_cache = True  # the trainer turns it off
    model.save_pretrained(str(job.out))
    tokenizer.save_pretrained(str(job.out))
    for path in job.out.glob("*.safetensors"):
        path.chmod(0o644)  # written for its owner only


def _measured_as_saved(job: Job, rows: Sequence[Row]) -> HeldOut:
    """Measured on the files, so that what is reported is what is served."""
    model = load_language_model(job.out)
    nn.Module.to(model, job.torch_device)
    held_out = measure(Corrector(model, load_tokenizer(job.out), job.asking), rows)
    if held_out.exact_match is not None:
        print(
            f"held out: {held_out.exact_match:.4f} of {held_out.rows} rows corrected exactly, "
            f"the first wrong step found in {held_out.located:.4f}",
            flush=True,
        )
    return held_out
