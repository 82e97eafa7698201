"""What a call's headers say before anything of its body is read: whose it is, how urgent, and until when."""

import base64
import binascii
import math
import time
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request

from ..admission import Admission, Visitor
from ..domain.caller import Priority
from ..domain.failure import FailureKind, Rejected
from ..domain.ports import Deadline
from .schemas import MAX_TIMEOUT_S

PRIORITY: Final = "X-Assay-Priority"
TIMEOUT_S: Final = "X-Assay-Timeout-S"
ANSWER_S: Final = 0.25
"""The most of a call's time that is kept for writing and sending its answer."""
ANSWER_SHARE: Final = 0.05
ENTRY: Final = "entry"
"""Where in a request's state it lies."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A call that was let in. ``timeout_s`` is the header's, None where there is none."""

    visitor: Visitor
    arrived_s: float
    timeout_s: float | None

    @classmethod
    def of(cls, headers: Headers, admission: Admission) -> "Entry":
        """Raises ``Rejected``: ``unauthenticated``, or ``invalid`` for a header that says nothing known."""
        tenant = admission.tenant_of(_key(headers.get("Authorization", "")))
        return cls(
            Visitor.of(tenant, _priority(headers.get(PRIORITY))),
            time.monotonic(),
            _timeout_s(headers.get(TIMEOUT_S)),
        )

    def deadline(self, timeout_s: float | None, *, default_s: float) -> Deadline:
        """When to stop judging: the smaller of the header and what the body says, counted from the headers on.

        That leaves the time to answer: what comes after the deadline finds nobody.
        """
        asked = [one for one in (self.timeout_s, timeout_s) if one is not None]
        allowed_s = min(asked, default=default_s)
        return Deadline(self.arrived_s + allowed_s - min(ANSWER_S, ANSWER_SHARE * allowed_s))


def entry_of(request: Request) -> Entry:
    """What the gate made of this request's headers."""
    entry: Entry = getattr(request.state, ENTRY)
    return entry


def _key(authorization: str) -> str | None:
    """The key of ``Bearer KEY``, or of ``Basic``: what clients make of ``http://anyone:KEY@host``, password only."""
    scheme, _, value = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return value.strip() or None
        case "basic":
            try:
                return base64.b64decode(value, validate=True).decode().partition(":")[2] or None
            except (binascii.Error, UnicodeDecodeError):
                return None
    return None


def _priority(said: str | None) -> Priority | None:
    if said is None:
        return None
    try:
        return Priority(said.strip().lower())
    except ValueError:
        known = ", ".join(Priority)
        raise Rejected(FailureKind.INVALID, f"{PRIORITY} is {said!r}: one of {known}") from None


def _timeout_s(said: str | None) -> float | None:
    if said is None:
        return None
    try:
        timeout_s = float(said)
    except ValueError:
        timeout_s = math.nan
    if not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise Rejected(
            FailureKind.INVALID, f"{TIMEOUT_S} is {said!r}: seconds, above 0 and at most {MAX_TIMEOUT_S:g}"
        )
    return timeout_s
