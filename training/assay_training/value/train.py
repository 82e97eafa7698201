"""The front door: prompts with rewards in, a value head in a folder that the service loads out."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import nn

from ..finetuning.card import CARD, versions_of, write_card
from ..finetuning.devices import device_of
from ..finetuning.models import load_language_model, load_tokenizer, reference
from .fit import Schedule, fit, measure
from .rows import Row, digest_of, split
from .states import States

FORMAT: Final = "assay-value-head/1"
WEIGHTS: Final = "value_head.safetensors"
PACKAGES: Final = ("assay", "torch", "transformers")
CACHE_GB: Final = 4.0


def train_value(
    *,
    base: str | Path,
    rows: Sequence[Row],
    out: str | Path,
    max_value: float = 1.0,
    max_prompt_length: int = 640,
    held_out: float = 0.1,
    epochs: int = 10,
    batch_size: int = 32,
    learning_rate: float = 1e-4,
    dropout: float = 0.1,
    heads: int = 8,
    device: str = "auto",
    threads: int | None = None,
    seed: int = 0,
    reward: Sequence[dict[str, Any]] | None = None,
    generations: dict[str, Any] | None = None,
    about: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train a head on the frozen states of ``base`` and write it to the folder ``out``; its card is returned.

    ``rows`` are of the base's own completions, each with a reward between 0 and ``max_value``. ``held_out`` is the
    share of the prompts that is not trained on: one half chooses the epoch, the other measures it. ``reward`` says
    what the rewards are made of, as the service would, where the service made them; ``generations`` how the completions
    were sampled, ``about`` whatever else its card should say. Raises ``ValueError`` with what to do.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    _check(rows, max_value)
    started, out = time.monotonic(), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / CARD).unlink(missing_ok=True)
    model = load_language_model(base)
    nn.Module.to(model, device_of(device))
    states = States(
        model, load_tokenizer(base), max_prompt_length=max_prompt_length, cache_bytes=CACHE_GB * 2**30
    )
    states.learn([row.prompt for row in rows])
    trained_on, choosing, measuring = split(rows, held_out, seed)
    print(
        f"{len(trained_on)} rows to train on, {len(choosing)} to choose the epoch by, {len(measuring)} to measure it",
        flush=True,
    )
    schedule = Schedule(epochs, batch_size, learning_rate, dropout, heads, seed)
    fitted = fit(states, trained_on, choosing, max_value, schedule)
    figures = measure(fitted.head, states, trained_on, measuring)
    _save(fitted.head, out)
    print(
        f"epoch {fitted.epoch} is best: held-out error {figures.mse:.5f}, that of a constant {figures.constant:.5f}",
        flush=True,
    )
    return write_card(
        out,
        {
            "format": FORMAT,
            **(about or {}),
            "base": reference(base).identity(),
            "max_value": max_value,
            "heads": heads,
            "max_prompt_length": max_prompt_length,
            "reward": None if reward is None else list(reward),
            "generations": generations,
            "rows": {
                "read": len(rows),
                "prompts": len({row.prompt for row in rows}),
                "trained": len(trained_on),
                "sha256": digest_of(rows),
            },
            "held_out": {**asdict(figures), "share": held_out},
            "training": {**asdict(schedule), "best_epoch": fitted.epoch, "errors": list(fitted.errors)},
            "training_time_s": round(time.monotonic() - started, 1),
            "versions": versions_of(PACKAGES),
        },
    )


def _check(rows: Sequence[Row], max_value: float) -> None:
    rewards = [row.reward for row in rows if row.reward is not None]
    if len(rewards) < len(rows):
        raise ValueError(
            "every row needs a reward: let the reference policy write completions, and reward them"
        )
    low, high = min(rewards, default=0.0), max(rewards, default=0.0)
    if low < 0 or high > max_value:
        raise ValueError(
            f"the rewards go from {low:g} to {high:g}, but the head can say only 0 to {max_value:g}: give the largest "
            "reward as max_value, and bring the smallest to 0 (for a reward model by its sigmoid)"
        )


def _save(head: nn.Module, out: Path) -> None:
    tensors = {name: tensor.detach().float().cpu().contiguous() for name, tensor in head.state_dict().items()}
    save_file(tensors, out / WEIGHTS)
    (out / WEIGHTS).chmod(0o644)
