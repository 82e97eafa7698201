"""Hosts models in vLLM: in this process its client, in a process of its own the engine, on CUDA or CPU.

One engine writes and weighs, so a critic and a rewriter of the same settings are one engine. What vLLM does not do
(attention, value heads, classifiers that read both ways, entropies over a whole large vocabulary) is left to the
transformers engine.
"""

import os
from typing import Final

ENVIRONMENT: Final = {
    # The service has threads, and a fork of a process with threads may wait for a lock that nobody holds.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
"""What vLLM is told unless the operator says otherwise; it reads its environment while it is imported."""

for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

from .language_model import LanguageModel  # noqa: E402
from .segment_scorer import SegmentScorer  # noqa: E402

Generator = TokenWeigher = LanguageModel

__all__ = ["Generator", "SegmentScorer", "TokenWeigher"]
