"""How several critiques of one rollout become one reward per token."""

from collections.abc import Sequence
from statistics import fmean

from .options import VoteRule
from .scoring import TokenValues


def tally(votes: Sequence[TokenValues], unmarked: Sequence[float], rule: VoteRule) -> tuple[float, ...]:
    """The intrinsic reward of every token; ``unmarked`` is what a token without any mark receives.

    ``majority``: more than half of the critiques marked the token, and it gets the mean of what they gave it;
    ``intersection``: all of them did; ``mean``: the mean of all critiques, marks or none.
    """
    return tuple(_token(votes, index, value, rule) for index, value in enumerate(unmarked))


def _token(votes: Sequence[TokenValues], index: int, unmarked: float, rule: VoteRule) -> float:
    if rule is VoteRule.MEAN:
        return fmean(vote.intrinsic[index] for vote in votes)
    given = [vote.intrinsic[index] for vote in votes if vote.marked[index]]
    needed = len(votes) if rule is VoteRule.INTERSECTION else len(votes) // 2 + 1
    return fmean(given) if len(given) >= needed else unmarked
