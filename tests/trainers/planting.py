"""A reward planted on one token, to be found again at that token in what a trainer makes of it."""

from collections.abc import Mapping, Sequence
from typing import Any


def planted(ids: Sequence[int]) -> list[float]:
    """7 on one token that only the ids decide, 0 on the others."""
    row = [0.0] * len(ids)
    row[sum(ids) % len(ids)] = 7.0
    return row


def plant(rollout: Mapping[str, Any], _: int) -> list[float]:
    """The same, as the service is asked for it."""
    return planted(rollout["completion"]["token_ids"])
