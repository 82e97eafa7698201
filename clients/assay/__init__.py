"""Assay, the client that trainers import. It needs httpx and nothing else."""

from .client import Client
from .errors import AssayError, CallRejected, ServiceUnreachable
from .wire import Answer, Failed, Scored, Segment, SegmentScored, Span

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "AssayError",
    "CallRejected",
    "Client",
    "Failed",
    "Scored",
    "Segment",
    "SegmentScored",
    "ServiceUnreachable",
    "Span",
]
