"""Rows of nearly one length are computed together."""

from hypothesis import given
from hypothesis import strategies as st

from assayd.engines.transformers.grouping import groups_by_length


@given(
    lengths=st.lists(st.integers(1, 500), max_size=60),
    padding=st.integers(0, 500),
    size=st.none() | st.integers(1, 2000),
)
def test_groups_waste_little(lengths: list[int], padding: int, size: int | None) -> None:
    """Every row is in one group, shortest first, and no group exceeds its padding or its size."""
    groups = groups_by_length(lengths, padding=padding, size=size)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    in_order = [lengths[index] for group in groups for index in group]
    assert in_order == sorted(in_order)
    for group in groups:
        longest = max(lengths[index] for index in group)
        assert sum(longest - lengths[index] for index in group) <= padding
        assert len(group) == 1 or size is None or len(group) * longest <= size
