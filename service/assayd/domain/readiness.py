"""Whether a service can do its work, part by part."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Status(StrEnum):
    """What to do with a service: send it calls, send it calls and look after it, or send it none.

    One that drains is about to end: it still answers whoever has not noticed.
    """

    OK = "ok"
    DEGRADED = "degraded"
    NOT_READY = "not_ready"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Each part by name, and whether it can answer now; ``dispensable`` are those it can judge without.

    ``complaints`` says what is wrong with parts of which that is known.
    """

    parts: Mapping[str, bool]
    dispensable: frozenset[str] = frozenset()
    complaints: Mapping[str, str] = field(default_factory=dict)
    draining: bool = False

    @property
    def status(self) -> Status:
        """Degraded when nothing but dispensable parts is missing."""
        if self.draining:
            return Status.DRAINING
        missing = {name for name, answers in self.parts.items() if not answers}
        if missing - self.dispensable:
            return Status.NOT_READY
        return Status.DEGRADED if missing else Status.OK
