"""Holds vLLM to a level of determinism: it has one switch, which changes the kernels of all engines of a process."""

import os
from typing import Final

from vllm.platforms import current_platform

from ...settings import Determinism

SWITCH: Final = "VLLM_BATCH_INVARIANT"
"""What vLLM reads to choose kernels whose sums do not depend on the batch."""
CAPABILITY: Final = (9, 0)
"""The least compute capability of the GPUs that it has such kernels for."""

_asked: set[Determinism] = set()
"""Of the engines of this process."""


def hold(level: Determinism) -> None:
    """Make the next engine keep ``level``. Raises ``ValueError`` with what to do where vLLM cannot."""
    if level is Determinism.BUCKETED:
        raise ValueError(
            "vLLM forms its batches by itself: set determinism to none or strict, or `engine` to transformers"
        )
    if level is Determinism.STRICT and not _has_kernels():
        raise ValueError(
            "vLLM keeps determinism strict on NVIDIA GPUs of compute capability 9.0 (Hopper) or later only: set it to "
            "none, or `engine` to transformers"
        )
    if _asked - {level}:
        raise ValueError(
            "the vllm engines of one service have one determinism: all of them none, or all strict"
        )
    _asked.add(level)
    if level is Determinism.STRICT:
        os.environ[SWITCH] = "1"


def _has_kernels() -> bool:
    return bool(current_platform.is_cuda() and current_platform.has_device_capability(CAPABILITY))
