"""The training loop of the embedded models: worker processes of one thread share one model in memory.

Each worker computes the gradient of a batch of its own, all average, and each updates its share of the weights. Small
operations on two cores gain nothing from threads inside an operation; whole batches side by side do.
"""

import math
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, multiprocessing
from torch.multiprocessing.spawn import spawn
from torch.nn import Parameter
from transformers import LlamaForCausalLM

from .mixture import Mixture, Teaches
from .muon import Muon
from .pocket_model import reply_loss, save_weights

TOKENS_PER_BATCH = 2560
WARM_UP_STEPS = 100
WEIGHT_DECAY = 0.05
REPORT_EVERY_STEPS = 50
SAVE_EVERY_STEPS = 250
LARGEST_GRADIENT = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the weights go, and what is learned: a course, in so many steps of so many workers.

    The rate warms up to `peak_rate` and falls linearly to nothing over the last `decay_share` of the steps. `stream`
    names the random numbers.
    """

    out: Path
    stream: str
    course: Teaches
    steps: int
    workers: int
    peak_rate: float
    decay_share: float

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 1."""
        warm = min(1.0, step / min(WARM_UP_STEPS, max(1, self.steps // 10)))
        return self.peak_rate * warm * min(1.0, (self.steps - step + 1) / (self.decay_share * self.steps))


def fit(model: LlamaForCausalLM, tokenizer: Tokenizer, plan: Plan) -> None:
    """Train the model in place and save it as it goes."""
    model.share_memory()
    size = sum(weight.numel() for weight in model.parameters())
    gradients_wn = torch.zeros(plan.workers, size).share_memory_()  # type: ignore[no-untyped-call]
    barrier = multiprocessing.get_context("spawn").Barrier(plan.workers)
    arguments = (model, tokenizer.to_str(), gradients_wn, barrier, plan)
    spawn(_work, args=arguments, nprocs=plan.workers)  # type: ignore[no-untyped-call]


def _work(
    worker: int, model: LlamaForCausalLM, tokenizer: str, gradients_wn: Tensor, barrier: Barrier, plan: Plan
) -> None:
    torch.set_num_threads(1)
    pieces = Tokenizer.from_str(tokenizer)
    mixture = Mixture(pieces, f"{plan.stream} {worker}", TOKENS_PER_BATCH, plan.course)
    optimizers = _optimizers(model, worker, plan)
    started, losses = time.monotonic(), []
    model.train()
    for step in range(1, plan.steps + 1):
        batch = mixture.batch(step / plan.steps)
        loss, count = reply_loss(model, batch.ids_bt, batch.targets_bt)
        (loss / count).backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item() / count)
        gradients_wn[worker] = torch.cat([_gradient(weight).flatten() for weight in model.parameters()])
        barrier.wait()
        _share(list(model.parameters()), gradients_wn)
        rate = plan.rate_at(step)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        model.zero_grad()
        barrier.wait()
        if worker == 0:
            _report(model, plan, step, losses, time.monotonic() - started)


def _optimizers(model: LlamaForCausalLM, worker: int, plan: Plan) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the hidden matrices of this worker's share, AdamW for its other weights."""
    named = sorted(model.named_parameters(), key=lambda pair: -pair[1].numel())
    mine = named[worker :: plan.workers]
    matrices = [weight for name, weight in mine if weight.ndim == 2 and "embed" not in name]
    others = [weight for name, weight in mine if weight.ndim != 2 or "embed" in name]
    adam = torch.optim.AdamW(others, plan.peak_rate, betas=(0.9, 0.98), weight_decay=0.0)
    return Muon(matrices, plan.peak_rate, weight_decay=WEIGHT_DECAY), adam


def _gradient(weight: Parameter) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad


def _share(weights: list[Parameter], gradients_wn: Tensor) -> None:
    """Give each weight the mean gradient of all workers, clipped."""
    mean_n = gradients_wn.mean(0)
    mean_n *= (LARGEST_GRADIENT / (mean_n.norm() + 1e-6)).clamp(max=1.0)
    pieces = torch.split(mean_n, [weight.numel() for weight in weights])
    for weight, piece in zip(weights, pieces, strict=True):
        weight.grad = piece.view_as(weight)


def _report(model: LlamaForCausalLM, plan: Plan, step: int, losses: list[float], elapsed_s: float) -> None:
    if not math.isfinite(losses[-1]):
        raise ArithmeticError(f"the loss of step {step} is not finite; lower the peak rate")
    if step % REPORT_EVERY_STEPS == 0 or step == plan.steps:
        recent = losses[-REPORT_EVERY_STEPS:]
        mean = sum(recent) / len(recent)
        print(
            f"step {step}/{plan.steps} loss {mean:.4f} {elapsed_s:.0f} s ({elapsed_s / step:.3f} s a step)",
            flush=True,
        )
    if step % SAVE_EVERY_STEPS == 0 or step == plan.steps:
        save_weights(model, plan.out)
