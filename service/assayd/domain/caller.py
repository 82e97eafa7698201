"""Who asks, as the queues in front of the engines see them.

A caller is bound where a call is admitted and read where its work queues, several layers further down: annotators in
between see one rollout and know nothing of tenants. Tasks begun inside the block keep it, so work that several calls
share is charged to whoever began it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Priority(StrEnum):
    """What a call is for: a training step that a cluster waits for, an evaluation, or work that may take its time."""

    TRAINING = "training"
    EVALUATION = "evaluation"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose turn it is, and how often compared with others': ``weight`` 2 is served twice as many tokens as 1."""

    tenant: str
    weight: float = 1.0
    priority: Priority = Priority.TRAINING


ANYBODY: Final = Caller("open")
"""The one tenant of a service without a tenants file."""
ITSELF: Final = Caller("assay")
"""The service, when it looks after its own models: behind no tenant's line."""

_calling: ContextVar[Caller] = ContextVar("caller", default=ANYBODY)


def current_caller() -> Caller:
    """Whose work this is."""
    return _calling.get()


@contextmanager
def calling(caller: Caller) -> Iterator[None]:
    """All that is begun inside the block is the caller's work."""
    before = _calling.set(caller)
    try:
        yield
    finally:
        _calling.reset(before)
