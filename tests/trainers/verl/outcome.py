"""A reward function as veRL's users write them."""

from typing import Any


def compute_score(data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None) -> float:
    """Whether the answer is there."""
    return float(ground_truth in solution_str)
