"""Where the service is and how to call it: what the caller says, else the environment, else what is usual."""

import os
from dataclasses import dataclass, field
from typing import Any, Final, Self

DEFAULT_URL: Final = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT_S: Final = 60.0
URL_VARIABLE: Final = "ASSAY_URL"
KEY_VARIABLE: Final = "ASSAY_API_KEY"
TIMEOUT_VARIABLE: Final = "ASSAY_TIMEOUT_S"
PRIORITY_VARIABLE: Final = "ASSAY_PRIORITY"
PRIORITY: Final = "X-Assay-Priority"
PRIORITIES: Final = ("training", "evaluation", "batch")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much goes over the wire at once.

    ``max_connections`` bounds the requests in flight of one client. A call with more than ``max_rollouts`` rollouts or
    ``max_bytes`` of JSON is made in parts; an answer of more than ``max_answer_bytes`` is refused unread.
    """

    max_connections: int = 32
    max_rollouts: int = 128
    max_bytes: int = 16_000_000
    max_answer_bytes: int = 512_000_000

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it has to be 1 at least")


@dataclass(frozen=True, slots=True)
class Configuration:
    """A service and how to call it; ``timeout_s`` is for calls that name none.

    ``priority`` is the class in which calls wait there; None: the highest that the key's tenant has.
    """

    url: str
    api_key: str | None = field(repr=False)
    timeout_s: float
    limits: Limits
    priority: str | None = None

    @classmethod
    def of(
        cls,
        url: str | None,
        api_key: str | None,
        timeout_s: float | None,
        limits: Limits | None,
        priority: str | None = None,
    ) -> Self:
        """What is said here counts; what is None is taken from the environment. Raises ``ValueError``."""
        said = url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
        if not said.startswith(("http://", "https://")):
            raise ValueError(f"{said!r} is no URL: write http://HOST:PORT")
        key = (api_key or os.environ.get(KEY_VARIABLE) or "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ValueError(f"the key in api_key or {KEY_VARIABLE} holds characters that no header takes")
        return cls(
            said.rstrip("/"),
            key or None,
            positive(_timeout_s() if timeout_s is None else timeout_s),
            limits or Limits(),
            _priority(priority or os.environ.get(PRIORITY_VARIABLE)),
        )

    @property
    def arguments(self) -> dict[str, Any]:
        """What makes another client of the same service."""
        return {
            "url": self.url,
            "api_key": self.api_key,
            "timeout_s": self.timeout_s,
            "limits": self.limits,
            "priority": self.priority,
        }

    @property
    def headers(self) -> dict[str, str]:
        """What every request says of its caller."""
        said = {} if self.api_key is None else {"Authorization": f"Bearer {self.api_key}"}
        return said if self.priority is None else {**said, PRIORITY: self.priority}


def positive(timeout_s: float) -> float:
    """A time in seconds that a call may take; raises ``ValueError`` for what is none."""
    if not 0 < timeout_s < float("inf"):
        raise ValueError(f"timeout_s is {timeout_s}: it has to be above 0 and finite")
    return float(timeout_s)


def _priority(said: str | None) -> str | None:
    if said and said not in PRIORITIES:
        raise ValueError(f"priority ({PRIORITY_VARIABLE}) is {said!r}: one of {', '.join(PRIORITIES)}")
    return said or None


def _timeout_s() -> float:
    said = os.environ.get(TIMEOUT_VARIABLE)
    if not said:
        return DEFAULT_TIMEOUT_S
    try:
        return float(said)
    except ValueError:
        raise ValueError(f"{TIMEOUT_VARIABLE} is {said!r}: write a number of seconds") from None
