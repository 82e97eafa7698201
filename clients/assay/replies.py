"""What an HTTP response says: an answer, a refusal, or nothing that this service would say."""

import email.utils
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from .chunks import Sent
from .errors import AnswerUnreadable, CallRejected, OverQuota, RecipeChanged, Unauthenticated

_REJECTIONS: Final = {401: Unauthenticated, 412: RecipeChanged, 429: OverQuota}
_EXCERPT: Final = 200


@dataclass(frozen=True, slots=True)
class Reply:
    """One response, read to its end."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status is one of the 200s."""
        return 200 <= self.status < 300

    @property
    def retry_after_s(self) -> float | None:
        """How long to wait before the next request, seconds or a date; None where nobody says."""
        said = self.headers.get("retry-after")
        if said is None:
            return None
        try:
            return max(float(said), 0.0)
        except ValueError:
            pass
        try:
            return max(email.utils.parsedate_to_datetime(said).timestamp() - time.time(), 0.0)
        except ValueError:
            return None


def problem_of(reply: Reply) -> dict[str, Any]:
    """The problem details (RFC 9457) of a refusal; empty where it has none."""
    try:
        problem = _loads(reply.content)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) and "kind" in problem else {}


def rejection(reply: Reply) -> CallRejected:
    """Why the service refused a whole call."""
    problem = problem_of(reply)
    return _REJECTIONS.get(reply.status, CallRejected)(
        reply.status,
        problem.get("kind", "internal"),
        problem.get("detail") or _excerpt(reply) or "no reason given",
        pointer=problem.get("pointer"),
        retry_after_s=problem.get("retry_after_s", reply.retry_after_s),
    )


def answer_of(reply: Reply, sent: Sequence[Sent]) -> dict[str, Any]:
    """The body of an answer to ``sent``; raises ``AnswerUnreadable`` where it is none.

    There is one result per rollout, in order, and one finite reward per token of those that say how many they have.
    """
    try:
        body = _loads(reply.content)
        results, recipe = body["results"], body["recipe"]["id"]
        names = [result["id"] for result in results]
    except (ValueError, KeyError, TypeError) as error:
        raise AnswerUnreadable(
            f"no answer of this service, but {_excerpt(reply)!r}: is the URL right?"
        ) from error
    if names != [one.id for one in sent]:
        raise AnswerUnreadable(
            f"{len(names)} results for {len(sent)} rollouts, or in another order (recipe {recipe})"
        )
    for one, result in zip(sent, results, strict=True):
        rewards = result.get("rewards")
        if one.tokens is not None and rewards is not None and len(rewards) not in (one.tokens, 0):
            raise AnswerUnreadable(
                f"{len(rewards)} rewards for the {one.tokens} tokens of rollout {one.id!r}"
            )
    return dict(body)


def _loads(content: bytes) -> Any:
    return json.loads(content, parse_constant=_refuse)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _excerpt(reply: Reply) -> str:
    return reply.content[:_EXCERPT].decode("utf-8", "replace")
