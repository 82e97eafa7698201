"""Muon: momentum whose matrices are made orthogonal before they are applied, in float32 for CPUs.

Follows Keller Jordan, "Muon: an optimizer for hidden layers" (2024), with the scale of Moonshot's "Muon is scalable for
LLM training" (2025, section 2.2), so that one learning rate serves both Muon and AdamW. torch's own Muon iterates in
bfloat16, which is slow on CPUs without it.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """For the weight matrices of hidden layers; embeddings and norms belong to AdamW."""

    def __init__(
        self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Apply one update from the gradients at hand; matrices of one shape are made orthogonal together."""
        for group in self.param_groups:
            momentum, rate = group["momentum"], group["lr"]
            shapes: dict[tuple[int, int], list[Tensor]] = {}
            for weight in group["params"]:
                shapes.setdefault((min(weight.shape), max(weight.shape)), []).append(weight)
            for (_, longer), weights in shapes.items():
                directions = []
                for weight in weights:
                    gradient = weight.grad if weight.grad is not None else torch.zeros_like(weight)
                    state = self.state[weight]
                    velocity = state.setdefault("velocity", torch.zeros_like(weight))
                    velocity.lerp_(gradient, 1 - momentum)
                    direction = gradient.lerp(velocity, momentum)
                    directions.append(direction.T if weight.shape[0] > weight.shape[1] else direction)
                scale = 0.2 * math.sqrt(longer)
                for weight, direction in zip(weights, orthogonalized(torch.stack(directions)), strict=True):
                    weight.mul_(1 - rate * group["weight_decay"])
                    turned = direction.T if weight.shape[0] > weight.shape[1] else direction
                    weight.add_(turned, alpha=-rate * scale)


def orthogonalized(x_nij: Tensor) -> Tensor:
    """Nearly the orthogonal factors of the polar decompositions (i <= j), by a quintic Newton-Schulz iteration."""
    first, second, third = _COEFFICIENTS
    x_nij = x_nij / (x_nij.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        gram_nii = x_nij @ x_nij.mT
        x_nij = first * x_nij + (second * gram_nii + third * gram_nii @ gram_nii) @ x_nij
    return x_nij
