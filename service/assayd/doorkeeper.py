"""Remembers for a moment who was refused because the wait was too long, so that the next one need not be read for it.

To find out that a call would be late takes work: its body is validated, its texts are cut into tokens. Where many come
in vain, that work would be what the service is busy with. When a call has been refused, it is known when one of its
kind would have been served; whoever comes after it is served no sooner, so whoever has to be served before that is
refused unread.
"""

import time
from dataclasses import dataclass
from typing import Final

from .domain.caller import Caller, Priority
from .domain.failure import FailureKind, Rejected
from .domain.ports import Deadline

HOLDS_S: Final = 0.25
"""Those in front may leave, and what is remembered needs no engine: so the next one after this is looked at again."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Calls that wait in the same lines: of one caller, to one route by one method."""

    tenant: str
    priority: Priority
    route: str
    method: str
    """Empty where the body names none."""

    @classmethod
    def of(cls, caller: Caller, route: str, method: object) -> "Kind":
        """``method`` is whatever the body says, unread."""
        return cls(caller.tenant, caller.priority, route, method if isinstance(method, str) else "")


@dataclass(frozen=True, slots=True)
class _Memory:
    served_at_s: float
    until_s: float


class Doorkeeper:
    """Stands in front of one service."""

    def __init__(self) -> None:
        self._memories: dict[Kind, _Memory] = {}

    def remember(self, kind: Kind, served_at_s: float) -> None:
        """Take note of when a call that has just been refused would have been served, on the monotonic clock."""
        now_s = time.monotonic()
        self._memories = {known: one for known, one in self._memories.items() if one.until_s > now_s}
        self._memories[kind] = _Memory(served_at_s, now_s + HOLDS_S)

    def suspects(self, caller: Caller, route: str) -> bool:
        """Whether calls of this caller to this route, by whichever method, have been refused a moment ago."""
        now_s = time.monotonic()
        return any(
            (kind.tenant, kind.priority, kind.route) == (caller.tenant, caller.priority, route)
            and memory.until_s > now_s
            for kind, memory in self._memories.items()
        )

    def refuse_late(self, kind: Kind, deadline: Deadline) -> None:
        """Raise ``Rejected`` (``overloaded``) for a call that is known to be in vain."""
        memory = self._memories.get(kind)
        if memory is None or memory.until_s <= time.monotonic() or memory.served_at_s <= deadline.at_s:
            return
        raise Rejected(
            FailureKind.OVERLOADED,
            "the work in front of this call takes longer than its deadline allows: try again later, or allow it more "
            "time",
            retry_after_s=memory.served_at_s - deadline.at_s,
        )
