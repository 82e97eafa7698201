"""What could not be judged, and why. A failure never carries a reward.

AssayError
├── Rejected            ends the call: key, terms, quota, overload, deadline at the door, a malformed request
│   ├── RecipeChanged   the caller pinned a recipe that this service no longer follows
│   └── ArrivedTooSlowly   the body of the call was not here in time
└── AnnotationFailed    touches one rollout: the call goes on and that item says so
"""

from dataclasses import dataclass
from enum import StrEnum


class FailureKind(StrEnum):
    """The closed list of reasons; programs branch on it, people read ``detail``."""

    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    OVER_QUOTA = "over_quota"
    OVERLOADED = "overloaded"
    PAST_DEADLINE = "past_deadline"
    INVALID = "invalid"
    UNALIGNED = "unaligned"
    TOO_LONG = "too_long"
    UNPARSEABLE = "unparseable"
    TRUNCATED_CRITIQUE = "truncated_critique"
    LOCATE_DISAGREES = "locate_disagrees"
    EMPTY = "empty"
    ENGINE = "engine"
    INTERNAL = "internal"


class Blame(StrEnum):
    """What an engine's failure says of the rollout that it touches.

    ``alone``: it was read with no other, so it is to blame. ``present``: it was inside when the engine died.
    """

    ALONE = "alone"
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class Failure:
    """The annotation that could not be made.

    ``critique`` is what the critic said, when it spoke at all. ``rewards`` is None, but for an empty completion
    (no tokens, no rewards: ``()``) and for a caller who asked for zeros on failure. ``retry_after_s`` is set where
    the same rollout may be judged later.
    """

    kind: FailureKind
    detail: str
    critique: str | None = None
    rewards: tuple[float, ...] | None = None
    retry_after_s: float | None = None


class AssayError(Exception):
    """Base of every error that Assay raises on purpose."""

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class Rejected(AssayError):
    """The whole call is refused. ``retry_after_s`` is set where waiting helps, ``pointer`` names the field."""

    def __init__(
        self,
        kind: FailureKind,
        detail: str,
        *,
        pointer: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(kind, detail)
        self.pointer = pointer
        self.retry_after_s = retry_after_s


class RecipeChanged(Rejected):
    """The caller pinned a recipe, and this service would judge by another one."""

    def __init__(self, pinned: str, current: str) -> None:
        super().__init__(
            FailureKind.INVALID,
            f"the recipe is now {current}, the call pins {pinned}: model, prompt, options or service have changed",
        )
        self.current = current


class ArrivedTooSlowly(Rejected):
    """The body of the call was not here in time."""

    def __init__(self, within_s: float) -> None:
        super().__init__(
            FailureKind.PAST_DEADLINE,
            f"the body did not arrive within {within_s:g} s: send fewer rollouts a call, or raise "
            "server.body_timeout_s",
        )


class AnnotationFailed(AssayError):
    """One rollout could not be judged."""

    def __init__(
        self,
        kind: FailureKind,
        detail: str,
        *,
        critique: str | None = None,
        rewards: tuple[float, ...] | None = None,
        retry_after_s: float | None = None,
        blame: Blame | None = None,
    ) -> None:
        super().__init__(kind, detail)
        self.blame = blame
        self.critique = critique
        self.rewards = rewards
        self.retry_after_s = retry_after_s

    def restated(
        self, *, detail: str | None = None, rewards: tuple[float, ...] | None = None
    ) -> "AnnotationFailed":
        """The same failure in other words, or with rewards that were asked for on failure."""
        return AnnotationFailed(
            self.kind,
            self.detail if detail is None else detail,
            critique=self.critique,
            rewards=self.rewards if rewards is None else rewards,
            retry_after_s=self.retry_after_s,
            blame=self.blame,
        )

    @property
    def failure(self) -> Failure:
        """The same fact as data."""
        return Failure(self.kind, self.detail, self.critique, self.rewards, self.retry_after_s)
