"""Trains a segment reward model from preference pairs (papers.md 2.2), on top of TRL's ``RewardTrainer``."""

from .train import train_segment_rm

__all__ = ["train_segment_rm"]
