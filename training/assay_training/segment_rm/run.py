"""One training from its plan to the files that are served."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import nn
from transformers import AutoModelForTokenClassification, PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.reward_config import RewardConfig

from ..finetuning.card import write_card
from ..finetuning.checkpoints import Checkpoints
from ..finetuning.devices import DTYPES
from ..finetuning.job import BaseJob
from ..finetuning.models import load_tokenizer
from ..finetuning.optimizers import make_optimizer
from .card import card_of
from .examples import Example, Examples, Weigher, make_examples
from .held_out import HeldOut, measure, split
from .models import load_entropy_model, load_reward_model, value_head
from .pairs import Pair
from .plan import Plan
from .trainer import SegmentRewardTrainer

LOWEST_RATE_SHARE: Final = 0.1
ENTROPIES: Final = "entropies"
"""The folder among the checkpoints that keeps what was weighed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(BaseJob):
    """A plan with its data, and where its entropy model lies."""

    plan: Plan
    entropy_model: str | None
    pairs: Sequence[Pair]
    held_out: Sequence[Pair]


def run(job: Job, *, resume: bool, keep_checkpoints: bool) -> dict[str, Any]:
    """Weigh, cut, train, save, measure what was saved; the card is written last and returned."""
    checkpoints = job.begin(job.plan, resume=resume)
    tokenizer = load_tokenizer(job.base)
    made, own = _examples(job, tokenizer, checkpoints)
    share = job.plan.held_out
    trained_on, measured_on = (
        (made.kept, own.kept) if isinstance(share, str) else split(made.kept, share, job.plan.schedule.seed)
    )
    if not trained_on:
        raise ValueError(f"no pair is left to train on; dropped: {dict(made.dropped)}")
    print(
        f"{len(trained_on)} pairs to train on, {len(measured_on)} held out, dropped {dict(made.dropped)}",
        flush=True,
    )
    trainer = _trainer(job, tokenizer, trained_on, checkpoints)
    trainer.train(resume_from_checkpoint=checkpoints.last())
    job.save(trainer.model, tokenizer)
    held_out = _measured_as_saved(job, measured_on)
    card = card_of(
        job.plan,
        counts={"read": len(job.pairs), "trained": len(trained_on), "dropped": dict(made.dropped)},
        held_out=held_out,
        steps=trainer.state.global_step,
        training_time_s=trainer.training_time_s,
    )
    card = write_card(job.out, card)
    if not keep_checkpoints:
        checkpoints.remove()
    return card


def _examples(
    job: Job, tokenizer: PreTrainedTokenizerBase, checkpoints: Checkpoints
) -> tuple[Examples, Examples]:
    """Of the pairs to train on, and of those that were held out by the caller."""
    weigher = None
    if job.entropy_model is not None:
        weigher = Weigher(
            load_entropy_model(job.entropy_model, job.torch_device, DTYPES[job.plan.schedule.dtype]),
            load_tokenizer(job.entropy_model),
            checkpoints.path / ENTROPIES / "pairs",
        )
        if weigher.tokenizer.get_vocab() != tokenizer.get_vocab():
            raise ValueError(
                f"{job.entropy_model} reads other tokens than {job.base}: the entropy model needs its tokenizer"
            )
    made = make_examples(job.pairs, tokenizer, job.plan.reading, weigher)
    if not job.held_out:
        return made, Examples([], Counter())
    aside = weigher and replace(weigher, cache=checkpoints.path / ENTROPIES / "held_out")
    return made, make_examples(job.held_out, tokenizer, job.plan.reading, aside)


def _trainer(
    job: Job, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], checkpoints: Checkpoints
) -> SegmentRewardTrainer:
    schedule = job.plan.schedule
    model = load_reward_model(job.base, seed=schedule.seed, freeze=schedule.freeze)
    nn.Module.to(model, job.torch_device)
    arguments = RewardConfig(
        **job.arguments(
            schedule, checkpoints, batch=schedule.batch_pairs, micro_batch=schedule.micro_batch_pairs
        ),
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": LOWEST_RATE_SHARE},
    )
    optimizer = make_optimizer(model, value_head(model)[1], schedule.optimizer, schedule.learning_rate)
    return SegmentRewardTrainer(model, tokenizer, examples, arguments, optimizer)


def _measured_as_saved(job: Job, examples: Sequence[Example]) -> HeldOut:
    """Measured on the files, so that what is reported is what is served."""
    model: PreTrainedModel = AutoModelForTokenClassification.from_pretrained(
        str(job.out), dtype=torch.float32
    )
    nn.Module.to(model, job.torch_device)
    held_out = measure(model, examples)
    if held_out.accuracy is not None:
        print(f"held out: {held_out.accuracy:.4f} of {held_out.pairs} pairs ranked right", flush=True)
    return held_out
