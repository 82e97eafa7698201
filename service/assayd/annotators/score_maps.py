"""How the extrinsic reward is told to the critic: a score out of ten (papers.md 1.2 and R8)."""

import math

from .options import ScoreMap, Settled


def score_shown(extrinsic: float | None, options: Settled) -> str | None:
    """The score as the critic reads it, ``7.5/10``; None where it is told nothing."""
    if extrinsic is None or not options.show_reward_to_critic:
        return None
    score = score_of_ten(extrinsic, options)
    return None if score is None else f"{score:g}/10"


def score_of_ten(extrinsic: float, options: Settled) -> float | None:
    """The extrinsic reward out of ten; None without a map: a number without a scale tells nothing."""
    match options.score_map:
        case ScoreMap.ROUGE:
            return rouge_score(extrinsic)
        case ScoreMap.PREFERENCE:
            return preference_score(extrinsic)
        case ScoreMap.LINEAR if options.score_min is not None and options.score_max is not None:
            return linear_score(extrinsic, options.score_min, options.score_max)
        case _:
            return None


def rouge_score(percent: float) -> float:
    """The released map of ROUGE-1 in percent. It saturates at 5 percent, which looks like a bug."""
    return min(round(2 * percent, 1), 10.0)


def preference_score(reward: float) -> float:
    """The released bins of the preference model: half a unit wide, closed at the top, -1.5 to 3.5."""
    if reward < -1.5:
        return 0.0
    return float(min(max(math.ceil((reward + 1.5) * 2), 1), 10))


def linear_score(reward: float, lowest: float, highest: float) -> float:
    """``lowest`` is 0, ``highest`` is 10, and what lies outside is clipped."""
    return round(min(max(10 * (reward - lowest) / (highest - lowest), 0.0), 10.0), 1)
