"""Advantages, which rollouts to keep, and how often to draw them (A-LoL; papers.md 4.1, 4.3, 4.6).

Pure numbers over the rollouts of one call. A rollout that failed has none of them and moves none of the others.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class ValueSource(StrEnum):
    """What a reward is compared with.

    ``head``: the value of the reference policy by a trained head, as in the paper. ``provided``: the same, by the
    caller. ``group_mean``: the mean reward of the rollouts of one prompt, which is GRPO's baseline and not A-LoL's:
    it is of the policy that wrote them, and of this call alone. ``none``: nothing.
    """

    HEAD = "head"
    GROUP_MEAN = "group_mean"
    PROVIDED = "provided"
    NONE = "none"


class Sampling(StrEnum):
    """How often to draw a rollout: by its advantage (the paper), all that are kept alike, or not said."""

    GOOD_PRIORITY = "good_priority"
    GOOD_RANDOM = "good_random"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Worth:
    """The reward of one rollout and what it is compared with; ``group`` is whatever its group has in common."""

    reward: float
    value: float | None = None
    group: Hashable = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What one rollout is worth beside the others; None where nobody said what to compare it with."""

    value: float | None = None
    advantage: float | None = None
    keep: bool | None = None
    sampling_weight: float | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """What holds for the call: each is None where no rollout has an advantage to count.

    ``positive_ratio`` is the share of the judged rollouts that are kept; the paper trains that share of its steps.
    ``weight_sum`` is what the weights were divided by: added up over all calls of a data set, it makes the weights of
    each of them (``sampling_weight * weight_sum / dataset_weight_sum``).
    """

    positive_ratio: float | None
    n_keep: int | None
    weight_sum: float | None


def standings(
    worths: Sequence[Worth | None],
    source: ValueSource,
    sampling: Sampling,
    *,
    dataset_weight_sum: float | None = None,
) -> tuple[list[Standing | None], Tally]:
    """Where each rollout of a call stands, in order; None for those that failed.

    ``A = reward - value``, kept where ``A > 0``. Weights are in proportion to ``max(A, 0)``, or to 1 where kept, and
    sum to 1; with ``dataset_weight_sum``, the sum over a whole data set, those of its calls do together. Where
    nothing is kept all weights are 0 (A6; the released code divides by zero).
    """
    values = _values(worths, source)
    advantages = [
        None if worth is None or value is None else worth.reward - value
        for worth, value in zip(worths, values, strict=True)
    ]
    weights = [None if advantage is None else _weight(advantage, sampling) for advantage in advantages]
    counted = [weight for weight in weights if weight is not None]
    own_sum = math.fsum(counted)
    total = own_sum if dataset_weight_sum is None else dataset_weight_sum
    made = [
        None
        if worth is None
        else Standing(
            value=value,
            advantage=advantage,
            keep=None if advantage is None else advantage > 0,
            sampling_weight=None if weight is None else weight / total if total > 0 else 0.0,
        )
        for worth, value, advantage, weight in zip(worths, values, advantages, weights, strict=True)
    ]
    return made, _tally(advantages, own_sum if counted else None)


def group_means(worths: Sequence[Worth | None]) -> list[float | None]:
    """The mean reward of each rollout's group, itself included; of a group that agrees exactly its reward."""
    rewards: dict[Hashable, list[float]] = {}
    for worth in worths:
        if worth is not None:
            rewards.setdefault(worth.group, []).append(worth.reward)
    means = {group: _mean(members) for group, members in rewards.items()}
    return [None if worth is None else means[worth.group] for worth in worths]


def _values(worths: Sequence[Worth | None], source: ValueSource) -> list[float | None]:
    match source:
        case ValueSource.NONE:
            return [None] * len(worths)
        case ValueSource.GROUP_MEAN:
            return group_means(worths)
        case _:
            return [None if worth is None else worth.value for worth in worths]


def _mean(rewards: Sequence[float]) -> float:
    # Around the first one: equal rewards have no advantage over each other, not one of a rounding.
    first = rewards[0]
    return first + math.fsum(reward - first for reward in rewards) / len(rewards)


def _weight(advantage: float, sampling: Sampling) -> float | None:
    match sampling:
        case Sampling.GOOD_PRIORITY:
            return max(advantage, 0.0)
        case Sampling.GOOD_RANDOM:
            return float(advantage > 0)
        case Sampling.NONE:
            return None


def _tally(advantages: Sequence[float | None], weight_sum: float | None) -> Tally:
    known = [advantage for advantage in advantages if advantage is not None]
    if not known:
        return Tally(None, None, None)
    kept = sum(advantage > 0 for advantage in known)
    return Tally(kept / len(known), kept, weight_sum)
