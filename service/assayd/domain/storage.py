"""What is asked of a store, and of the services that share it."""

from enum import Enum, auto
from typing import Protocol


class Claimed(Enum):
    """What came of claiming a piece of work: it is ours, another's, done already, or nobody can tell."""

    OURS = auto()
    THEIRS = auto()
    DONE = auto()
    UNKNOWN = auto()


class Claims(Protocol):
    """Tells other services that share a store what is worked on here, and the other way round."""

    async def claim(self, key: str) -> Claimed:
        """Say that ``key`` is worked on here, unless it is elsewhere or was done there."""
        ...

    def release(self, key: str) -> None:
        """Say that ``key`` is not worked on here any more."""
        ...

    async def released(self, key: str) -> None:
        """Return when ``key`` is done or nobody works on it, or when that cannot be known."""
        ...


class Store(Protocol):
    """Remembers finished annotations as bytes."""

    @property
    def claims(self) -> Claims | None:
        """How services that share it keep from doing the same twice; None where nobody shares it."""
        ...

    async def get(self, key: str) -> bytes | None:
        """What was put under ``key``, None when it is unknown or expired."""
        ...

    async def put(self, key: str, value: bytes) -> None:
        """Remember ``value``; it may be forgotten at any time."""
        ...

    async def ready(self) -> bool:
        """Whether the store can be reached."""
        ...

    async def close(self) -> None:
        """Let go of everything; safe to call twice."""
        ...
