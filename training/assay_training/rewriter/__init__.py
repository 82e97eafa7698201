"""Trains a rewriter from verified corrections (papers.md 3.1), on top of TRL's ``SFTTrainer``."""

from .train import train_rewriter

__all__ = ["train_rewriter"]
