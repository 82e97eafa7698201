"""Moves a value head towards the rewards, and keeps the epoch that foretells held-out ones best."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor, nn

from .head import TrainableHead
from .rows import Row
from .states import States

ROWS_MEASURED_AT_ONCE = 64
DECAY = 0.01


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the head is moved; its base never is."""

    epochs: int
    batch_size: int
    learning_rate: float
    dropout: float
    heads: int
    seed: int


@dataclass(frozen=True, slots=True)
class Fitted:
    """The head of the best epoch (counted from 1), and the held-out error of each."""

    head: TrainableHead
    epoch: int
    errors: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Mean squared errors over rows that neither training nor the choice of the epoch saw.

    ``constant`` is that of the mean reward of the training, ``explained`` the share of it that the head takes away.
    """

    rows: int
    prompts: int
    mse: float
    constant: float
    explained: float


def fit(
    states: States, rows: Sequence[Row], choosing: Sequence[Row], max_value: float, schedule: Schedule
) -> Fitted:
    """Train by mean squared error (papers.md 4.2); the released code keeps the epoch of the least *training* error."""
    torch.manual_seed(schedule.seed)
    head = TrainableHead(states.width, heads=schedule.heads, max_value=max_value, dropout=schedule.dropout)
    nn.Module.to(head, states.device)
    _begin_at(head, fmean(row.reward or 0.0 for row in rows) / max_value)
    optimizer = torch.optim.AdamW(head.parameters(), schedule.learning_rate, weight_decay=DECAY)
    random = torch.Generator().manual_seed(schedule.seed)
    best, errors = deepcopy(head), []
    for epoch in range(1, schedule.epochs + 1):
        head.train()
        losses = []
        for batch in _batches(rows, schedule.batch_size, random):
            loss = nn.functional.mse_loss(_values(head, states, batch), _rewards(batch, states.device))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
        errors.append(error_of(head, states, choosing))
        if errors[-1] == min(errors):
            best = deepcopy(head)
        print(f"epoch {epoch}: error {fmean(losses):.5f} in training, {errors[-1]:.5f} held out", flush=True)
    return Fitted(best, errors.index(min(errors)) + 1, tuple(errors))


def measure(head: TrainableHead, states: States, rows: Sequence[Row], measuring: Sequence[Row]) -> HeldOut:
    """How well a head foretells rows that it was not chosen by."""
    mean = fmean(row.reward or 0.0 for row in rows)
    constant = fmean(((row.reward or 0.0) - mean) ** 2 for row in measuring)
    error = error_of(head, states, measuring)
    return HeldOut(
        rows=len(measuring),
        prompts=len({row.prompt for row in measuring}),
        mse=error,
        constant=constant,
        explained=1 - error / constant if constant else 0.0,
    )


@torch.no_grad()
def error_of(head: TrainableHead, states: States, rows: Sequence[Row]) -> float:
    """The mean squared error, without dropout."""
    head.train(mode=False)
    total = 0.0
    for start in range(0, len(rows), ROWS_MEASURED_AT_ONCE):
        batch = rows[start : start + ROWS_MEASURED_AT_ONCE]
        total += float(((_values(head, states, batch) - _rewards(batch, states.device)) ** 2).sum())
    return total / len(rows)


def _begin_at(head: TrainableHead, mean: float) -> None:
    """Let a head that sees nothing yet say the mean reward."""
    share = min(max(mean, 1e-3), 1 - 1e-3)
    nn.init.constant_(head.score.bias, float(torch.logit(torch.tensor(share))))


def _batches(rows: Sequence[Row], size: int, random: torch.Generator) -> Iterator[list[Row]]:
    order = torch.randperm(len(rows), generator=random).tolist()
    for start in range(0, len(order), size):
        yield [rows[at] for at in order[start : start + size]]


def _values(head: TrainableHead, states: States, rows: Sequence[Row]) -> Tensor:
    values_b: Tensor = head(*states([row.prompt for row in rows]))
    return values_b


def _rewards(rows: Sequence[Row], device: torch.device) -> Tensor:
    return torch.tensor([row.reward for row in rows], dtype=torch.float32, device=device)
