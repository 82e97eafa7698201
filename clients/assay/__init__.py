"""Assay, the client that trainers import. It needs httpx and nothing else."""

from .async_client import AsyncClient
from .calls import Asked
from .client import Client
from .coalescing import AsyncCoalescer, Coalescer
from .configuration import Limits
from .errors import (
    AnswerUnreadable,
    AssayError,
    CallRejected,
    DeadlinePassed,
    OverQuota,
    RecipeChanged,
    RecipeDrift,
    RolloutFailed,
    ServiceUnreachable,
    Unaligned,
    Unauthenticated,
)
from .policy import FailurePolicy
from .rollouts import rollout
from .wire import (
    Answer,
    Edit,
    Failed,
    Operation,
    Probed,
    Rewritten,
    Scored,
    Segment,
    SegmentScored,
    SequenceScored,
    Span,
)

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "AnswerUnreadable",
    "Asked",
    "AssayError",
    "AsyncClient",
    "AsyncCoalescer",
    "CallRejected",
    "Client",
    "Coalescer",
    "DeadlinePassed",
    "Edit",
    "Failed",
    "FailurePolicy",
    "Limits",
    "Operation",
    "OverQuota",
    "Probed",
    "RecipeChanged",
    "RecipeDrift",
    "Rewritten",
    "RolloutFailed",
    "Scored",
    "Segment",
    "SegmentScored",
    "SequenceScored",
    "ServiceUnreachable",
    "Span",
    "Unaligned",
    "Unauthenticated",
    "rollout",
]
