"""The optimizers of a training: AdamW as in the papers, or Muon for the matrices of hidden layers beside it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import torch
from torch import nn

from ..muon import Muon

BETAS = (0.9, 0.95)


class OptimizerName(StrEnum):
    """Which rule moves the weights."""

    ADAMW = "adamw"
    MUON = "muon"


def make_optimizer(
    model: nn.Module, head: nn.Module, name: OptimizerName, rate: float
) -> torch.optim.Optimizer:
    """The optimizer over the weights that are trained, without weight decay, as in the papers' code.

    Embeddings and the weight of ``head``, which makes what the model puts out, are never Muon's.
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    if name is OptimizerName.ADAMW:
        return torch.optim.AdamW(trained, rate, betas=BETAS, weight_decay=0.0)
    not_hidden = {head.weight} | {
        module.weight for module in model.modules() if isinstance(module, nn.Embedding)
    }
    matrices = [weight for weight in trained if weight.ndim == 2 and weight not in not_hidden]
    others = [weight for weight in trained if weight.ndim != 2 or weight in not_hidden]
    return MuonBesideAdamW(matrices, others, rate)


class MuonBesideAdamW(torch.optim.Optimizer):
    """One optimizer to its caller: Muon moves the matrices of hidden layers, AdamW everything else."""

    def __init__(self, matrices: list[nn.Parameter], others: list[nn.Parameter], rate: float) -> None:
        super().__init__([{"params": matrices}, {"params": others}], {"lr": rate})
        self._parts = (
            Muon(matrices, rate),
            torch.optim.AdamW(others, rate, betas=BETAS, weight_decay=0.0),
        )

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Apply one update, each part at the rate that the schedule has given its group."""
        for group, part in zip(self.param_groups, self._parts, strict=True):
            part.param_groups[0]["lr"] = group["lr"]
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """The groups, and the states of both parts."""
        return super().state_dict() | {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave."""
        super().load_state_dict({key: state_dict[key] for key in ("state", "param_groups")})
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
