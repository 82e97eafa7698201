"""How long the texts of one rollout may be: no deadline ends the work on a text once it has begun."""

from ..domain.failure import Failure, FailureKind
from ..settings import ServerSettings
from .schemas import WireRollout


def oversized(rollout: WireRollout, server: ServerSettings) -> Failure | None:
    """Why a rollout is too long to be looked at, None where it is not."""
    sent = rollout.completion
    completion = max(len(part or ()) for part in (sent.text, sent.token_ids, sent.offsets))
    prompt = sum(len(message.content) for message in rollout.messages)
    return too_long(completion, "completion", server.max_completion_chars) or too_long(
        max(prompt, len(rollout.reference or "")), "prompt", server.max_prompt_chars
    )


def too_long(length: int, what: str, most: int) -> Failure | None:
    """Why a text of so many characters, or tokens, is not looked at, None where it is.

    ``what`` names the setting that says how many there may be at ``most``.
    """
    if length <= most:
        return None
    return Failure(
        FailureKind.TOO_LONG,
        f"a text of {length} characters or tokens, and this service looks at {most} at most: send less, or raise "
        f"server.max_{what}_chars",
    )
