"""Puts rows of nearly one length together, so that little is computed on padding."""

from collections.abc import Sequence


def groups_by_length(lengths: Sequence[int], *, padding: int, size: int | None = None) -> list[list[int]]:
    """Indices of ``lengths`` in groups, shortest first; within a group each row is padded to its longest.

    A group has at most ``padding`` places of padding and ``size`` places in all; a row alone may be longer.
    """
    groups: list[list[int]] = []
    wasted = longest = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[index]
        group = groups[-1] if groups else []
        wasted += len(group) * (length - longest)
        if not group or wasted > padding or (size is not None and (len(group) + 1) * length > size):
            wasted, group = 0, []
            groups.append(group)
        group.append(index)
        longest = length
    return groups


def group_of_first(lengths: Sequence[int], *, padding: int, size: int) -> list[int]:
    """The group that the first of ``lengths`` is in, it being first."""
    groups = groups_by_length(lengths, padding=padding, size=size)
    return sorted(next(group for group in groups if 0 in group))
