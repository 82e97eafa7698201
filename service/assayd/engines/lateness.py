"""Nothing is begun that nobody waits for."""

from typing import Literal

from ..domain.failure import AnnotationFailed, FailureKind
from ..domain.ports import Deadline


def refuse_late(deadline: Deadline, asked: Literal["model", "server"] = "model") -> None:
    """Raise ``AnnotationFailed`` (``past_deadline``) once the deadline has passed."""
    if deadline.passed:
        raise AnnotationFailed(FailureKind.PAST_DEADLINE, f"the deadline passed before the {asked} was asked")
