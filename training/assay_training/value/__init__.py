"""The value head of A-LoL: what the reference policy is worth at a prompt (2305.14718; papers.md 4.2)."""

from .train import train_value

__all__ = ["train_value"]
