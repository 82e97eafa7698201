"""The front door: verified corrections in, a rewriter in a folder that the service loads out."""

from pathlib import Path
from typing import Any

import torch

from ..finetuning.card import finished_card
from ..finetuning.models import positions_of, reference
from ..finetuning.optimizers import OptimizerName
from .asking import Asking
from .plan import Plan, Schedule
from .rows import digest_of, read_rows
from .run import Job, run


def train_rewriter(
    *,
    base: str | Path,
    rows: str | Path,
    out: str | Path,
    locate_prompt: str = "rewrite/grm-locate",
    fix_prompt: str = "rewrite/grm-fix",
    max_length: int = 2048,
    held_out: float | str | Path = 0.02,
    epochs: float = 3.0,
    batch_size: int = 128,
    micro_batch_size: int | None = None,
    learning_rate: float = 2e-5,
    warmup: float = 0.03,
    optimizer: str = "adamw",
    activation_checkpointing: bool = False,
    dtype: str = "float32",
    saved_dtype: str = "float32",
    device: str = "auto",
    threads: int | None = None,
    seed: int = 0,
    save_steps: int = 200,
    log_steps: int = 10,
    resume: bool = True,
    keep_checkpoints: bool = False,
) -> dict[str, Any]:
    """Train a rewriter on ``rows`` and write it to the folder ``out``; its card is returned.

    ``base`` is any causal model (a folder or a hub name). ``rows`` and, where it is no share, ``held_out`` are what
    ``read_rows`` takes. Of each row two exercises are made, as the paper does (papers.md 3.1): to name the first wrong
    step, and to write the whole correction; a right prediction is called correct and copied. The exercises are shown
    through the service's prompts of the names ``locate_prompt`` and ``fix_prompt``, and through the chat template where
    the base has one; only the answers are learned. Hyperparameters are the paper's by default.

    An exercise of more than ``max_length`` tokens, or than the model holds, is dropped and counted. All rows are held
    in memory. Weights are float32; ``dtype`` bfloat16 computes in mixed precision. ``micro_batch_size`` is what one
    forward takes, ``batch_size`` unless given.

    A second call with the same arguments goes on from the last checkpoint, or returns the card of the finished
    model. With ``resume`` False it begins anew. Raises ``ValueError`` with what to do.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    share = float(held_out) if isinstance(held_out, float | int) else None
    asking = Asking.by_name(locate_prompt, fix_prompt)
    trained_on = read_rows(rows)
    measured_on = [] if share is not None else read_rows(str(held_out))
    holds = positions_of(base)
    plan = Plan(
        base=reference(base),
        locate=asking.locate.ref,
        fix=asking.fix.ref,
        max_length=max_length if holds is None else min(max_length, holds),
        schedule=Schedule(
            epochs=epochs,
            batch_size=batch_size,
            micro_batch_size=micro_batch_size or batch_size,
            learning_rate=learning_rate,
            warmup=warmup,
            optimizer=OptimizerName(optimizer),
            dtype=dtype,
            seed=seed,
            activation_checkpointing=activation_checkpointing,
        ),
        rows_sha256=digest_of(trained_on),
        held_out=digest_of(measured_on) if share is None else share,
    )
    job = Job(
        plan=plan,
        base=str(base),
        asking=asking,
        rows=trained_on,
        held_out=measured_on,
        out=Path(out),
        device=device,
        saved_dtype=saved_dtype,
        save_steps=save_steps,
        log_steps=log_steps,
    )
    finished = finished_card(job.out, plan) if resume else None
    if finished is not None:
        return finished
    return run(job, resume=resume, keep_checkpoints=keep_checkpoints)
