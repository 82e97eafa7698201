"""The imitation weights of the released code, ties and quirks included (papers.md 3.3, G2)."""

from collections.abc import Sequence
from enum import IntEnum

from .edits import Key


class _Move(IntEnum):
    MATCH = 0
    DELETE = 1
    INSERT = 2
    SUBSTITUTE = 3


def released_changed(source: Sequence[Key], target: Sequence[Key]) -> tuple[bool, ...]:
    """Which tokens of the rewrite the released traceback marks; both sides with their end marker.

    Ties go to match, deletion, insertion, substitution, in this order. A cell on the way marks its column where its
    two tokens differ, so a deletion marks a token that was *kept*. The way ends where either side does: what is
    inserted or deleted before the first pair goes unmarked.
    """
    moves = _moves(source, target)
    changed = [False] * len(target)
    i, j = len(source), len(target)
    while i and j:
        changed[j - 1] = changed[j - 1] or source[i - 1] != target[j - 1]
        move = moves[i][j]
        i, j = i - (move != _Move.INSERT), j - (move != _Move.DELETE)
    return tuple(changed)


def _moves(source: Sequence[Key], target: Sequence[Key]) -> list[bytearray]:
    """The last move of the shortest way to every cell, by the released order of ties."""
    costs = list(range(len(target) + 1))
    moves = [bytearray(len(target) + 1)]
    for i, own in enumerate(source, start=1):
        above, costs = costs, [i]
        row = bytearray(len(target) + 1)
        for j, other in enumerate(target, start=1):
            cost, row[j] = above[j] + 1, _Move.DELETE
            if costs[j - 1] + 1 < cost:
                cost, row[j] = costs[j - 1] + 1, _Move.INSERT
            if above[j - 1] + 1 < cost:
                cost, row[j] = above[j - 1] + 1, _Move.SUBSTITUTE
            if own == other:
                cost, row[j] = above[j - 1], _Move.MATCH
            costs.append(cost)
        moves.append(row)
    return moves
