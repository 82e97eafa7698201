"""Assay, the client that trainers import. It needs httpx and nothing else."""

from .async_client import AsyncClient
from .client import Client
from .errors import AssayError, CallRejected, ServiceUnreachable
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
    "AssayError",
    "AsyncClient",
    "CallRejected",
    "Client",
    "Edit",
    "Failed",
    "Operation",
    "Probed",
    "Rewritten",
    "Scored",
    "Segment",
    "SegmentScored",
    "SequenceScored",
    "ServiceUnreachable",
    "Span",
]
