"""One training from its plan to the files that are served."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from transformers import AutoModelForTokenClassification, PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.reward_config import RewardConfig

from .card import CARD, card_of, write_card
from .checkpoints import Checkpoints
from .examples import Example, Examples, Weigher, make_examples
from .held_out import HeldOut, measure, split
from .models import load_entropy_model, load_reward_model, load_tokenizer
from .optimizers import make_optimizer
from .pairs import Pair
from .plan import Plan
from .trainer import SegmentRewardTrainer

DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LOWEST_RATE_SHARE: Final = 0.1
LARGEST_GRADIENT: Final = 1.0


@dataclass(frozen=True, slots=True)
class Job:
    """A plan with its data, where its models lie, and what does not change the weights."""

    plan: Plan
    base: str
    entropy_model: str | None
    pairs: Sequence[Pair]
    held_out: Sequence[Pair]
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
    """Weigh, cut, train, save, measure what was saved; the card is written last and returned."""
    (job.out / CARD).unlink(missing_ok=True)
    checkpoints = Checkpoints.open(job.out, job.plan, resume=resume)
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
    _save(job, trainer.model, tokenizer)
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
            checkpoints.entropies / "pairs",
        )
        if weigher.tokenizer.get_vocab() != tokenizer.get_vocab():
            raise ValueError(
                f"{job.entropy_model} reads other tokens than {job.base}: the entropy model needs its tokenizer"
            )
    made = make_examples(job.pairs, tokenizer, job.plan.reading, weigher)
    if not job.held_out:
        return made, Examples([], Counter())
    aside = weigher and replace(weigher, cache=checkpoints.entropies / "held_out")
    return made, make_examples(job.held_out, tokenizer, job.plan.reading, aside)


def _trainer(
    job: Job, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], checkpoints: Checkpoints
) -> SegmentRewardTrainer:
    schedule, device = job.plan.schedule, job.torch_device
    model = load_reward_model(job.base, seed=schedule.seed, freeze=schedule.freeze)
    nn.Module.to(model, device)
    arguments = RewardConfig(
        output_dir=str(checkpoints.path),
        num_train_epochs=schedule.epochs,
        per_device_train_batch_size=schedule.micro_batch_pairs,
        gradient_accumulation_steps=schedule.batch_pairs // schedule.micro_batch_pairs,
        learning_rate=schedule.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": LOWEST_RATE_SHARE},
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
        remove_unused_columns=False,
        dataloader_pin_memory=device.type != "cpu",
    )
    optimizer = make_optimizer(model, schedule.optimizer, schedule.learning_rate)
    return SegmentRewardTrainer(model, tokenizer, examples, arguments, optimizer)


def _save(job: Job, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    nn.Module.to(model, DTYPES[job.saved_dtype])
    model.config.dtype = DTYPES[job.saved_dtype]
    model.save_pretrained(str(job.out))
    tokenizer.save_pretrained(str(job.out))
    for path in job.out.glob("*.safetensors"):
        path.chmod(0o644)  # written for its owner only


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
