"""What can go wrong between a trainer and the service.

    AssayError
    ├── ServiceUnreachable    nobody answered: not running, refused, or the connection broke
    │   └── DeadlinePassed    no answer within ``timeout_s``
    ├── CallRejected          the service answered and refused the whole call, with a kind
    │   ├── Unauthenticated   it does not know the key, or wants one
    │   ├── OverQuota         the tenant has spent its quota, or has enough in flight; waiting helps
    │   └── RecipeChanged     it would judge by another recipe than the one that ``reward_match`` pins
    ├── RecipeDrift           parts of one call were judged by different recipes
    ├── AnswerUnreadable      what came back is no answer of this service, or too large a one
    ├── RolloutFailed         a rollout could not be judged, where the caller asked to have that raised
    └── Unaligned             a tokenizer does not tell which characters its tokens stand for

A rollout that could not be judged raises nothing by itself: it is a ``Failed`` among the results. All of these can be
pickled, because trainers carry them from worker to worker.
"""

from typing import Any, Final

UNREACHABLE: Final = "unreachable"
"""The kind of failure that only a client knows: nobody answered."""


class AssayError(Exception):
    """Base of every error this package raises. ``kind`` is what a rollout fails with because of it."""

    kind: str = "internal"


class ServiceUnreachable(AssayError):
    """The service gave no answer."""

    kind = UNREACHABLE


class DeadlinePassed(ServiceUnreachable):
    """The service gave no answer in time."""

    kind = "past_deadline"


class CallRejected(AssayError):
    """The service refused the call. ``kind`` is for programs, ``pointer`` names the offending field.

    ``status`` is that of HTTP. ``retry_after_s`` is set where waiting helps, and was longer than the time left.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        pointer: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{kind} ({status}): {detail}")
        self.status = status
        self.kind = kind
        self.detail = detail
        self.pointer = pointer
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.status, self.kind, self.detail, self.pointer, self.retry_after_s)


class Unauthenticated(CallRejected):
    """The service does not know the key of ``api_key`` or ``ASSAY_API_KEY``, or wants one."""


class OverQuota(CallRejected):
    """The tenant may not spend this now; the wait was longer than the time left."""


class RecipeChanged(CallRejected):
    """The service has another recipe than the one the call pins. Never made a ``Failed``: it will not pass."""


class RecipeDrift(AssayError):
    """The service's recipe changed while one call was under way: its rewards cannot be compared with each other."""


class AnswerUnreadable(AssayError):
    """Something answered, but not as this service does: see whether the URL is right."""


class RolloutFailed(AssayError):
    """The first rollout of the call that failed; ``failed`` is its result."""

    def __init__(self, id: str, kind: str, detail: str, failed: Any = None) -> None:
        super().__init__(f"rollout {id!r} was not judged, {kind}: {detail}")
        self.id = id
        self.kind = kind
        self.detail = detail
        self.failed = failed

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.id, self.kind, self.detail, self.failed)


class Unaligned(AssayError, ValueError):
    """No offsets can be computed here: send token ids and a public tokenizer's name, or text alone."""

    kind = "unaligned"


def _again(
    error: type[CallRejected],
    status: int,
    kind: str,
    detail: str,
    pointer: str | None,
    retry_after_s: float | None,
) -> CallRejected:
    return error(status, kind, detail, pointer=pointer, retry_after_s=retry_after_s)
