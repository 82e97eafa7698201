"""How long the texts of one rollout may be: no deadline bounds the work on a text once it has begun."""

from collections.abc import Iterator

from ..domain.failure import Failure, FailureKind
from ..settings import ServerSettings
from .schemas import WireRollout


def oversized(rollout: WireRollout, server: ServerSettings) -> Failure | None:
    """Why a rollout is too long to be looked at, None where it is not."""
    return too_long(max(_lengths(rollout)), server)


def too_long(length: int, server: ServerSettings) -> Failure | None:
    """Why a text of so many characters, or tokens, is not looked at, None where it is."""
    if length <= server.max_text_chars:
        return None
    return Failure(
        FailureKind.TOO_LONG,
        f"a text of {length} characters or tokens, and this service looks at {server.max_text_chars} at most: send "
        "less, or raise server.max_text_chars",
    )


def _lengths(rollout: WireRollout) -> Iterator[int]:
    completion = rollout.completion
    for part in (completion.text, completion.token_ids, completion.offsets, rollout.reference):
        yield len(part or ())
    yield sum(len(message.content) for message in rollout.messages)
