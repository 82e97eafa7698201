"""How the rewards of a completion's tokens become one number, for trainers that log or mix one per completion."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

Aggregation = Literal["sum", "mean", "last", "min"]
AGGREGATIONS: Final[Mapping[Aggregation, Callable[[Sequence[float]], float]]] = {
    "sum": sum,
    "mean": lambda rewards: sum(rewards) / len(rewards),
    "last": lambda rewards: rewards[-1],
    "min": min,
}
