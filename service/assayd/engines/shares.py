"""How much of each GPU the models on it may take, together."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """What one model asks for: a share in (0, 1] of each of its GPUs, or None for whatever its engine takes."""

    model: str
    gpus: tuple[int, ...]
    share: float | None


class Shares:
    """The claims that stand."""

    def __init__(self) -> None:
        self._claims: list[Claim] = []

    def add(self, claim: Claim) -> None:
        """Let a model claim its share.

        Raises ``ValueError`` where models on one GPU do not all say how much they take, or take more than all of it.
        """
        for gpu in claim.gpus:
            beside = [other for other in self._claims if gpu in other.gpus]
            if beside:
                _check(gpu, [*beside, claim])
        self._claims.append(claim)

    def drop(self, claim: Claim) -> None:
        """Give a share back; safe to call twice."""
        if claim in self._claims:
            self._claims.remove(claim)


def _check(gpu: int, claims: Sequence[Claim]) -> None:
    named = ", ".join(f"{claim.model} ({claim.share or 'no share named'})" for claim in claims)
    advice = "set `vllm.gpu_memory_utilization` of each, or put one on another GPU with `vllm.devices`"
    if any(claim.share is None for claim in claims):
        raise ValueError(f"GPU {gpu} is shared by {named}: every one has to name its share; {advice}")
    if sum(claim.share or 0.0 for claim in claims) > 1.0:
        raise ValueError(f"GPU {gpu} is shared by {named}: that is more than all of it; {advice}")
