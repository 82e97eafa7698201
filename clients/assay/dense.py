"""Dense advantages: what each token adds to, or takes from, the advantage that its whole completion has.

For token ``t`` of rollout ``i`` in group ``g`` (the completions of one prompt)::

    A[i][t]      = m[i][t] * (A_out[i] + weight * S[i][t])

    A_out[i]     = (R[i] - mean_g R) / (std_g R + epsilon)         scale "std"
                   R[i] - mean_g R                                  scale "mean"
                   R[i]                                             scale "none"

    d[i][t]      = m[i][t] * (r[i][t] - b[i][t])
    b[i][t]      = 0                                                baseline "none"
                   mean of r over all own tokens of the group       baseline "group"
                   mean of r over the group's tokens at place t     baseline "position"

    S[i][t]      = d[i][t]                                          gamma None
                   d[i][t] + gamma * S[i][t'], t' the next own token of the rollout

``R`` are outcomes (one a rollout), ``r`` token rewards, ``m`` is 1 on the policy's own tokens and 0 on others (tool
output, padding, a completion that is not to be learned from). ``std`` is the sample's (divided by n - 1), as in TRL.

Without shaping this is GRPO with outcome supervision (2402.03300, 4.1.2). Token rewards less the group's mean, summed
over what follows (``baseline="group", gamma=1``), are its process supervision (4.1.3) without the division by their
deviation, which ``weight`` takes the place of. Adding intrinsic token rewards to the outcome's is RELC (2401.07382),
and that each token carries its share of a segment's reward is 2501.02790.

A rollout without an outcome or without token rewards (None: it failed) contributes nothing and moves no mean: the
others of its group come out as if it had never been drawn. A group of one has no outcome advantage under "std" and
"mean", nor has the last rollout that is left of a group.

Means are over groups, so a group must be in one call: with gradient accumulation or several processes gather outcomes,
token rewards, masks and groups first, give all of them, and take your own rows of the result (every process computes
the same ones). With ``baseline="none"`` the shaping of a rollout needs nobody else.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from math import sqrt
from typing import Final, Literal

Scale = Literal["std", "mean", "none"]
Baseline = Literal["none", "group", "position"]
Tokens = Sequence[float]
"""One number per completion token, in order."""

EPSILON: Final = 1e-4
"""What TRL adds to the deviation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaping:
    """How token rewards become ``weight * S`` of the module's formula.

    ``gamma`` in [0, 1] credits a token with what follows it (1: undiscounted); None: with its own reward alone.
    ValueError where a setting is none of those.
    """

    weight: float = 1.0
    baseline: Baseline = "group"
    gamma: float | None = None

    def __post_init__(self) -> None:
        if self.baseline not in ("none", "group", "position"):
            raise ValueError(f"baseline is none, group or position, not {self.baseline!r}")
        if self.gamma is not None and not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma is None or within 0 and 1, not {self.gamma}")


def dense_advantages(
    outcomes: Sequence[float | None],
    token_rewards: Sequence[Tokens | None],
    masks: Sequence[Sequence[int]],
    groups: Sequence[Hashable],
    *,
    shaping: Shaping,
    scale: Scale = "std",
    epsilon: float = EPSILON,
) -> list[list[float]]:
    """``A`` of the module's formula: one row per rollout, one number per token of its mask.

    ValueError where the arguments are of different lengths, or token rewards and mask of one rollout are.
    """
    failed = [
        outcome is None or rewards is None for outcome, rewards in zip(outcomes, token_rewards, strict=True)
    ]
    whole = outcome_advantages(
        [None if bad else outcome for bad, outcome in zip(failed, outcomes, strict=True)],
        groups,
        scale=scale,
        epsilon=epsilon,
    )
    shaped = shape(
        [None if bad else rewards for bad, rewards in zip(failed, token_rewards, strict=True)],
        masks,
        groups,
        shaping,
    )
    return [
        [0.0 if bad or not own else advantage + token for own, token in zip(mask, row, strict=True)]
        for bad, advantage, mask, row in zip(failed, whole, masks, shaped, strict=True)
    ]


def outcome_advantages(
    outcomes: Sequence[float | None],
    groups: Sequence[Hashable],
    *,
    scale: Scale = "std",
    epsilon: float = EPSILON,
) -> list[float]:
    """``A_out``, one per rollout; 0 for those without an outcome."""
    members: defaultdict[Hashable, list[float]] = defaultdict(list)
    for group, outcome in zip(groups, outcomes, strict=True):
        if outcome is not None:
            members[group].append(outcome)
    scales = {group: _scale(values, scale, epsilon) for group, values in members.items()}
    return [
        0.0 if outcome is None else (outcome - scales[group][0]) / scales[group][1]
        for group, outcome in zip(groups, outcomes, strict=True)
    ]


def shape(
    token_rewards: Sequence[Tokens | None],
    masks: Sequence[Sequence[int]],
    groups: Sequence[Hashable],
    shaping: Shaping,
) -> list[list[float]]:
    """``weight * S``, one row per rollout and one number per token of its mask; zeros for one that failed."""
    rows = [
        None if rewards is None else _checked(rewards, mask)
        for rewards, mask in zip(token_rewards, masks, strict=True)
    ]
    baselines = _baselines(rows, masks, groups, shaping.baseline)
    return [
        [0.0] * len(mask) if row is None else _credited(row, mask, baselines[group], shaping)
        for row, mask, group in zip(rows, masks, groups, strict=True)
    ]


def _scale(outcomes: Sequence[float], scale: Scale, epsilon: float) -> tuple[float, float]:
    """What is taken off an outcome, and what it is divided by."""
    if scale == "none":
        return 0.0, 1.0
    mean = sum(outcomes) / len(outcomes)
    if scale == "mean" or len(outcomes) == 1:
        return mean, 1.0
    variance = sum((outcome - mean) ** 2 for outcome in outcomes) / (len(outcomes) - 1)
    return mean, sqrt(variance) + epsilon


def _checked(rewards: Tokens, mask: Sequence[int]) -> Tokens:
    if len(rewards) != len(mask):
        raise ValueError(f"{len(rewards)} token rewards but {len(mask)} mask values")
    return rewards


def _baselines(
    rows: Sequence[Tokens | None],
    masks: Sequence[Sequence[int]],
    groups: Sequence[Hashable],
    baseline: Baseline,
) -> dict[Hashable, list[float]]:
    """The baseline of every place, by group."""
    longest = max(map(len, masks), default=0)
    if baseline == "none":
        return dict.fromkeys(groups, [0.0] * longest)
    own: defaultdict[Hashable, list[list[float]]] = defaultdict(lambda: [[] for _ in range(longest)])
    for row, mask, group in zip(rows, masks, groups, strict=True):
        places = own[group]
        for place, reward in compress(enumerate(row or ()), mask):
            places[place].append(reward)
    if baseline == "position":
        return {group: [_mean(place) for place in places] for group, places in own.items()}
    means = {group: _mean([reward for place in places for reward in place]) for group, places in own.items()}
    return {group: [mean] * longest for group, mean in means.items()}


def _mean(rewards: Sequence[float]) -> float:
    return sum(rewards) / len(rewards) if rewards else 0.0


def _credited(row: Tokens, mask: Sequence[int], baseline: Iterable[float], shaping: Shaping) -> list[float]:
    """One rollout's ``weight * S``."""
    credited, ahead = [0.0] * len(row), 0.0
    steps = list(zip(range(len(row)), row, mask, baseline, strict=False))
    for place, reward, own, mean in reversed(steps):
        if own:
            ahead = reward - mean + (shaping.gamma or 0.0) * ahead
            credited[place] = shaping.weight * ahead
    return credited
