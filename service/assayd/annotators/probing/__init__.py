"""RLMEC's generative reward model: a token is worth what a rewriter thinks of it (papers.md 3.2, 5.3)."""

from .options import ProbeOptions
from .token_prober import TokenProber

__all__ = ["ProbeOptions", "TokenProber"]
