"""The answers of the service as plain dataclasses; fields that a newer service adds are kept in ``raw``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Span:
    """One remark: characters ``[start, end)`` and tokens ``[token_start, token_end)``, None where not found."""

    text: str
    label: str
    reward: float
    match: str
    start: int | None
    end: int | None
    token_start: int | None
    token_end: int | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Scored:
    """One finite reward per completion token, in order, and the reasons."""

    id: str
    rewards: tuple[float, ...]
    intrinsic: tuple[float, ...]
    offsets: tuple[tuple[int, int], ...]
    spans: tuple[Span, ...]
    critique: str | None
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """A rollout that could not be judged. It has no rewards: mask it out, never count it as 0.0."""

    id: str
    kind: str
    detail: str
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """One result per rollout, in order, and the recipe they were judged by (``recipe["id"]`` can be pinned)."""

    results: tuple[Scored | Failed, ...]
    recipe: Mapping[str, Any]


def read_answer(body: Mapping[str, Any]) -> Answer:
    """The body of a 200 answer of ``/score/token``."""
    return Answer(tuple(_result(result) for result in body["results"]), body["recipe"])


def _result(result: Mapping[str, Any]) -> Scored | Failed:
    if result["status"] == "failed":
        failure = result["failure"]
        return Failed(result["id"], failure["kind"], failure["detail"], result)
    return Scored(
        id=result["id"],
        rewards=tuple(result["rewards"]),
        intrinsic=tuple(result["intrinsic"]),
        offsets=tuple((start, end) for start, end in result["offsets"]),
        spans=tuple(_span(span) for span in result["spans"]),
        critique=result["critique"],
        raw=result,
    )


def _span(span: Mapping[str, Any]) -> Span:
    return Span(
        text=span["text"],
        label=span["label"],
        reward=span["reward"],
        match=span["match"],
        start=span.get("start"),
        end=span.get("end"),
        token_start=span.get("token_start"),
        token_end=span.get("token_end"),
        reason=span.get("reason"),
    )
