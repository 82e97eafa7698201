"""Sequence rewards and advantage-leftover-lunch learning (A-LoL, 2305.14718; papers.md 4, 5.6)."""

from .advantages import Standing, Tally, Worth, standings
from .components import HostedReward, Tools
from .options import SequenceOptions
from .sequence_scorer import SequenceScorer

__all__ = [
    "HostedReward",
    "SequenceOptions",
    "SequenceScorer",
    "Standing",
    "Tally",
    "Tools",
    "Worth",
    "standings",
]
