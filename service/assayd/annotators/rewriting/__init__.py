"""RLMEC's minimum edit: find the first wrong step, keep what stands before it, mend the rest (papers.md 3, 5.4)."""

from .asking import RewritePrompts
from .options import Method, RewriteOptions, Verify
from .rewriter import Rewriter

__all__ = ["Method", "RewriteOptions", "RewritePrompts", "Rewriter", "Verify"]
