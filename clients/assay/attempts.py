"""One part of a call, until it is answered, refused, or out of time. It does no I/O: whoever drives it does.

What is asked again: requests that reached nobody, or whose connection broke (judging twice changes nothing: answers are
kept by key), and refusals that say when to come again. What never is: anything after the deadline.
"""

import random
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from .chunks import Sent, Unsendable, body_of
from .deadline import Deadline
from .errors import AnswerUnreadable, AssayError, DeadlinePassed, ServiceUnreachable
from .replies import Reply, answer_of, problem_of, rejection
from .wire import failed_result

TIMEOUT_S: Final = "X-Assay-Timeout-S"
MAX_SERVICE_TIMEOUT_S: Final = 3600.0
"""The longest that the service lets itself be told."""

_TRAVEL_SHARE: Final = 0.1
_LONGEST_TRAVEL_S: Final = 2.0
_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 5.0
_FIRST_CONTACTS: Final = 4
_WAITING_HELPS: Final = (429, 502, 503)
_TOO_LARGE: Final = 413
_UNPROCESSABLE: Final = 422
_OF_ROLLOUT: Final = re.compile(r"/rollouts/(\d+)(?:/(.*))?")


@dataclass(frozen=True, slots=True)
class Send:
    """Please make this request, and come back with a ``Reply`` or with what went wrong."""

    path: str
    content: bytes
    headers: Mapping[str, str]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Please wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Part:
    """What came of the rollouts at these places of the call: the body of an answer, or why there is none."""

    indices: tuple[int, ...]
    outcome: Mapping[str, Any] | AssayError


@dataclass(slots=True)
class Contact:
    """Whether the service at ``url`` has ever answered this client: one that has not may be a typing error."""

    url: str
    made: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """What every request of one call has in common. ``divisible``: its parts may be judged apart."""

    path: str
    said: bytes
    headers: Mapping[str, str]
    divisible: bool
    deadline: Deadline
    contact: Contact


Outcome = Reply | httpx.RequestError | AssayError | None
Flow = Generator[Send | Pause, Outcome, list[Part]]


def ask(request: Request, sent: Sequence[Sent]) -> Flow:
    """Get ``sent`` judged; gives one or more parts. Raises ``AssayError`` when no answer can be had."""
    reply = yield from _answered(request, sent)
    if reply.is_success:
        return [Part(_indices(sent), answer_of(reply, sent))]
    problem = problem_of(reply)
    faults = dict(_faults(problem, len(sent))) if reply.status == _UNPROCESSABLE else {}
    if faults:
        return (yield from _without(request, sent, faults))
    too_much = reply.status == _TOO_LARGE or problem.get("pointer") == "/rollouts"
    if too_much and len(sent) == 1 and reply.status == _TOO_LARGE:
        return [failed(sent[0], "too_long", rejection(reply).detail)]
    if too_much and len(sent) > 1 and request.divisible:
        half = len(sent) // 2
        front = yield from ask(request, sent[:half])
        return front + (yield from ask(request, sent[half:]))
    raise rejection(reply)


def failed(one: Sent | Unsendable, kind: str, detail: str) -> Part:
    """A rollout that failed without being judged."""
    return Part((one.index,), {"results": [failed_result(one.id, kind, detail)]})


@dataclass(slots=True)
class _Patience:
    """Growing pauses, a little apart from those of everybody else who waits."""

    deadline: Deadline
    wait_s: float = field(default=_FIRST_WAIT_S)

    def pause(self, at_least_s: float = 0.0) -> Pause | None:
        """The next pause; None where the deadline would pass meanwhile."""
        jitter = random.uniform(0.5, 1.0)  # noqa: S311 - spreads callers, no secret
        seconds = max(at_least_s * (1.0 + 0.1 * jitter), self.wait_s * jitter)
        self.wait_s = min(2 * self.wait_s, _LONGEST_WAIT_S)
        return Pause(seconds) if seconds < self.deadline.remaining_s else None


def _answered(request: Request, sent: Sequence[Sent]) -> Generator[Send | Pause, Outcome, Reply]:
    """The first reply that is not worth another attempt."""
    patience = _Patience(request.deadline)
    attempts = 0
    while True:
        remaining_s = request.deadline.remaining_s
        if remaining_s == 0.0:
            raise late(request)
        attempts += 1
        left_s = _left_for_service_s(remaining_s)
        # Twice: a service that cannot answer by then knows it from the headers, before it reads the body.
        headers = {**request.headers, TIMEOUT_S: f"{left_s:.6f}"}
        outcome = yield Send(request.path, body_of(request.said, sent, left_s), headers, remaining_s)
        if isinstance(outcome, Reply):
            request.contact.made = True
            after_s = _again_after_s(outcome)
            pause = None if after_s is None else patience.pause(after_s)
            if pause is None:
                return outcome
        elif isinstance(outcome, AssayError):
            raise outcome
        else:
            if not isinstance(outcome, httpx.TransportError):
                raise AnswerUnreadable(f"{request.contact.url} sent what cannot be read: {outcome}")
            pause = patience.pause()
            stranger = not request.contact.made and attempts >= _FIRST_CONTACTS
            if pause is None or stranger or isinstance(outcome, httpx.UnsupportedProtocol):
                raise _unreachable(request, outcome) from outcome
        yield pause


def late(request: Request) -> DeadlinePassed:
    """Why there is no answer, when time was all that was missing."""
    return DeadlinePassed(f"no answer from {request.contact.url} within {request.deadline.timeout_s:g} s")


def _unreachable(request: Request, error: httpx.TransportError) -> ServiceUnreachable:
    if request.deadline.remaining_s == 0.0 or isinstance(error, httpx.ReadTimeout | httpx.PoolTimeout):
        return late(request)
    why = str(error) or type(error).__name__
    return ServiceUnreachable(
        f"no answer from {request.contact.url}: {why}. Is the service up? `assay check` tells"
    )


def _again_after_s(reply: Reply) -> float | None:
    """How long to wait at least before asking again; None where that does not help.

    The service says Retry-After wherever waiting helps. What stands before it, a proxy, often does not.
    """
    if reply.status not in _WAITING_HELPS:
        return None
    after_s = reply.retry_after_s
    return 0.0 if after_s is None and not problem_of(reply) else after_s


def _left_for_service_s(remaining_s: float) -> float:
    """What the service may take: the answer has to travel, and what it has by then is better than nothing."""
    return min(remaining_s - min(_TRAVEL_SHARE * remaining_s, _LONGEST_TRAVEL_S), MAX_SERVICE_TIMEOUT_S)


def _faults(problem: Mapping[str, Any], rollouts: int) -> Iterator[tuple[int, str]]:
    """The rollouts that a call was refused for, by their place in the request, and what is wrong with each."""
    for fault in problem.get("errors") or [problem]:
        match = _OF_ROLLOUT.fullmatch(fault.get("pointer") or "")
        if match and int(match[1]) < rollouts:
            yield int(match[1]), f"{match[2] or 'the rollout'}: {fault.get('detail', '')}"


def _without(request: Request, sent: Sequence[Sent], faults: Mapping[int, str]) -> Flow:
    """Rollouts that the whole call was refused for fail alone."""
    parts = [failed(sent[at], "invalid", detail) for at, detail in faults.items()]
    rest = [one for at, one in enumerate(sent) if at not in faults]
    return parts + ((yield from ask(request, rest)) if rest else [])


def _indices(sent: Sequence[Sent]) -> tuple[int, ...]:
    return tuple(one.index for one in sent)
