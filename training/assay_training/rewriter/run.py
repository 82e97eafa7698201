"""One training of a rewriter from its plan to the files that are served."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase
from trl.trainer.sft_config import SFTConfig

from ..finetuning.card import write_card
from ..finetuning.checkpoints import Checkpoints
from ..finetuning.job import BaseJob
from ..finetuning.models import language_head, load_language_model, load_tokenizer
from ..finetuning.optimizers import make_optimizer
from .asking import Asking
from .card import card_of
from .correcting import Corrector
from .examples import Example, make_examples
from .held_out import HeldOut, measure, split
from .plan import Plan
from .rows import Row
from .trainer import RewriterTrainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(BaseJob):
    """A plan with its data, and how the data are shown."""

    plan: Plan
    asking: Asking
    rows: Sequence[Row]
    held_out: Sequence[Row]


def run(job: Job, *, resume: bool, keep_checkpoints: bool) -> dict[str, Any]:
    """Show, train, save, measure what was saved; the card is written last and returned."""
    plan = job.plan
    checkpoints = job.begin(plan, resume=resume)
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
    model: Any = trainer.model
    model.config.use_cache = True  # the trainer turns it off
    job.save(model, tokenizer)
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
    schedule = job.plan.schedule
    model = load_language_model(job.base)
    nn.Module.to(model, job.torch_device)
    arguments = SFTConfig(
        **job.arguments(
            schedule, checkpoints, batch=schedule.batch_size, micro_batch=schedule.micro_batch_size
        ),
        lr_scheduler_type="cosine",
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    optimizer = make_optimizer(model, language_head(model), schedule.optimizer, schedule.learning_rate)
    return RewriterTrainer(model, tokenizer, examples, arguments, optimizer)


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
