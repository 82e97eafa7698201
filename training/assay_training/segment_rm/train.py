"""The front door: preference pairs in, a segment reward model in a folder that the service loads out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from assayd.annotators.cutting import Cut

from ..finetuning.card import finished_card
from ..finetuning.models import positions_of, reference
from ..finetuning.optimizers import OptimizerName
from .examples import Reading
from .pairs import digest_of, read_pairs
from .plan import Plan, Schedule
from .run import Job, run


def train_segment_rm(
    *,
    base: str | Path,
    pairs: str | Path,
    out: str | Path,
    entropy_model: str | Path | None = None,
    cut: Cut = Cut(),  # noqa: B008 - frozen
    max_length: int = 2048,
    max_prompt_length: int = 1728,
    held_out: float | str | Path = 0.02,
    epochs: float = 1.0,
    batch_pairs: int = 128,
    micro_batch_pairs: int | None = None,
    learning_rate: float = 1e-6,
    warmup: float = 0.03,
    optimizer: str = "adamw",
    freeze: Sequence[str] = (),
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
    """Train a segment reward model on ``pairs`` and write it to the folder ``out``; its card is returned.

    ``base`` is any causal model (a folder or a hub name) and gets one value head on every token. ``entropy_model``, the
    base where none is named, is frozen and says once, before the training, where ``cut`` cuts the completions. The
    loss is Bradley-Terry over the mean reward of each side's segments (papers.md 2.2), whose hyperparameters are the
    defaults. ``pairs`` and, where it is no share, ``held_out`` are what ``read_pairs`` takes.

    A prompt is cut from the left to ``max_prompt_length``; a pair of which a side does not fit into ``max_length``, or
    into the models, is dropped and counted. All pairs are held in memory. Weights are float32; ``dtype`` bfloat16
    computes in mixed precision. ``freeze`` are regular expressions on names of weights. ``micro_batch_pairs`` is what
    one forward takes, ``batch_pairs`` unless given.

    A second call with the same arguments goes on from the last checkpoint, or returns the card of the finished
    model. With ``resume`` False it begins anew. Raises ``ValueError`` with what to do.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    share = float(held_out) if isinstance(held_out, float | int) else None
    weighed_by = (entropy_model or base) if cut.needs_entropies else None
    schedule = Schedule(
        epochs=epochs,
        batch_pairs=batch_pairs,
        micro_batch_pairs=micro_batch_pairs or batch_pairs,
        learning_rate=learning_rate,
        warmup=warmup,
        optimizer=OptimizerName(optimizer),
        dtype=dtype,
        seed=seed,
        freeze=tuple(freeze),
        activation_checkpointing=activation_checkpointing,
    )
    held = [positions_of(name) for name in (base, weighed_by) if name is not None]
    window = min([max_length, *(length for length in held if length is not None)])
    trained_on = read_pairs(pairs)
    measured_on = [] if share is not None else read_pairs(str(held_out))
    plan = Plan(
        base=reference(base),
        entropy_model=None if weighed_by is None else reference(weighed_by),
        reading=Reading(cut.settled, window, max_prompt_length),
        schedule=schedule,
        pairs_sha256=digest_of(trained_on),
        held_out=digest_of(measured_on) if share is None else share,
    )
    job = Job(
        plan=plan,
        base=str(base),
        entropy_model=None if weighed_by is None else str(weighed_by),
        pairs=trained_on,
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
