"""The answers of the service as plain dataclasses; fields that a newer service adds are kept in ``raw``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

S = TypeVar("S")


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
class Segment:
    """Tokens ``[token_start, token_end)``, characters ``[start, end)``: what the model said, and what it came to."""

    token_start: int
    token_end: int
    start: int
    end: int
    text: str
    raw: float
    reward: float
    progress: float
    mean: float
    std: float
    std_floored: bool


@dataclass(frozen=True, slots=True)
class SegmentScored:
    """One finite reward per completion token, in order, and the segments that they come from."""

    id: str
    rewards: tuple[float, ...]
    intrinsic: tuple[float, ...]
    offsets: tuple[tuple[int, int], ...]
    segments: tuple[Segment, ...]
    sequence_score: float | None
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """A rollout that could not be judged. It has no rewards: mask it out, never count it as 0.0."""

    id: str
    kind: str
    detail: str
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer(Generic[S]):
    """One result per rollout, in order, and the recipe they were judged by (``recipe["id"]`` can be pinned)."""

    results: tuple[S | Failed, ...]
    recipe: Mapping[str, Any]


def read_tokens(body: Mapping[str, Any]) -> Answer[Scored]:
    """The body of a 200 answer of ``/score/token``."""
    return _read(body, _scored)


def read_segments(body: Mapping[str, Any]) -> Answer[SegmentScored]:
    """The body of a 200 answer of ``/score/segment``."""
    return _read(body, _segment_scored)


def _read(body: Mapping[str, Any], scored: Callable[[Mapping[str, Any]], S]) -> Answer[S]:
    results = (
        _failed(result) if result["status"] == "failed" else scored(result) for result in body["results"]
    )
    return Answer(tuple(results), body["recipe"])


def _failed(result: Mapping[str, Any]) -> Failed:
    return Failed(result["id"], result["failure"]["kind"], result["failure"]["detail"], result)


def _scored(result: Mapping[str, Any]) -> Scored:
    return Scored(
        id=result["id"],
        rewards=tuple(result["rewards"]),
        intrinsic=tuple(result["intrinsic"]),
        offsets=tuple((start, end) for start, end in result["offsets"]),
        spans=tuple(_span(span) for span in result["spans"]),
        critique=result["critique"],
        raw=result,
    )


def _segment_scored(result: Mapping[str, Any]) -> SegmentScored:
    return SegmentScored(
        id=result["id"],
        rewards=tuple(result["rewards"]),
        intrinsic=tuple(result["intrinsic"]),
        offsets=tuple((start, end) for start, end in result["offsets"]),
        segments=tuple(_segment(segment) for segment in result["segments"]),
        sequence_score=result["sequence_score"],
        raw=result,
    )


def _segment(segment: Mapping[str, Any]) -> Segment:
    return Segment(**{name: segment[name] for name in Segment.__slots__})


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
