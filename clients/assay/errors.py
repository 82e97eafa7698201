"""What can go wrong between a trainer and the service.

    AssayError
    ├── ServiceUnreachable    no answer: not running, refused, or timed out
    └── CallRejected          the service answered and refused the whole call, with a kind

A rollout that could not be judged raises nothing: it is a ``Failed`` among the results.
"""


class AssayError(Exception):
    """Base of every error this package raises."""


class ServiceUnreachable(AssayError):
    """The service gave no answer."""


class CallRejected(AssayError):
    """The service refused the call. ``kind`` is for programs, ``pointer`` names the offending field."""

    def __init__(
        self, status: int, kind: str, detail: str, *, pointer: str | None, retry_after_s: float | None
    ) -> None:
        super().__init__(f"{kind} ({status}): {detail}")
        self.status = status
        self.kind = kind
        self.detail = detail
        self.pointer = pointer
        self.retry_after_s = retry_after_s
