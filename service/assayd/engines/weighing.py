"""From what a model says of each token that it read to what that means for each token of the policy."""

import math
from collections.abc import Sequence

from ..domain.ports import TokenStats
from ..domain.rollout import Completion
from .rendering import Reading
from .transferring import averaged, highest, split


def token_stats(
    reading: Reading, completion: Completion, logprobs: Sequence[float], entropies: Sequence[float]
) -> TokenStats:
    """Log-probability and entropy (nats) of every completion token; the arguments have one of each per id read.

    Where the model reads tokens of its own, log-probabilities are shared out by characters, their sum kept, a policy
    token takes the highest entropy of the tokens that end in it, and its probability is the mean over its characters.
    """
    own = reading.own
    if own is None:
        return TokenStats(tuple(logprobs), tuple(entropies), reading.intake)
    target, tokens = completion.alignment, reading.stop - reading.start
    likely = [math.exp(logprob) for logprob in logprobs]
    shared, opened = split(logprobs[:tokens], own, target), highest(entropies[:tokens], own, target)
    meant = averaged(likely[:tokens], own, target)
    if (marker := reading.marker) is not None:
        shared[marker], opened[marker], meant[marker] = logprobs[tokens], entropies[tokens], likely[tokens]
    return TokenStats(tuple(shared), tuple(opened), reading.intake, tuple(meant))
