"""Hosts Hugging Face models in this process, on CPU or CUDA."""

from .generating import Generator
from .pair_scorer import PairScorer
from .prompt_valuer import PromptValuer
from .segment_scorer import SegmentScorer
from .token_weigher import TokenWeigher

__all__ = ["Generator", "PairScorer", "PromptValuer", "SegmentScorer", "TokenWeigher"]
