"""The answers of the service as plain dataclasses; fields that a newer service adds are kept in ``raw``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
class SequenceScored:
    """What a completion is worth as a whole, and beside the others of its call.

    ``value``, ``advantage``, ``keep`` and ``sampling_weight`` are None where nobody said what to compare it with.
    ``criteria`` are those of each rubric, by the component's name.
    """

    id: str
    components: Mapping[str, float]
    reward: float
    value: float | None
    advantage: float | None
    keep: bool | None
    sampling_weight: float | None
    criteria: Mapping[str, Sequence[Mapping[str, Any]]]
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Probed:
    """One finite reward per completion token, by how likely a rewriter would have written it (``probs``).

    ``branch`` is ``correct`` or ``incorrect``. ``ref_logprobs`` (nats) are the reference policy's, where the service
    has one. ``end`` is what the end marker is worth that the completion came without: ``reward``, ``prob``.
    """

    id: str
    rewards: tuple[float, ...]
    intrinsic: tuple[float, ...]
    offsets: tuple[tuple[int, int], ...]
    probs: tuple[float, ...]
    ref_logprobs: tuple[float, ...] | None
    branch: str
    all_zero: bool
    end: Mapping[str, float] | None
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Edit:
    """Characters ``[start, end)`` of the completion, in tokens ``[token_start, token_end)``, and what comes instead."""

    start: int
    end: int
    token_start: int
    token_end: int
    replacement: str


@dataclass(frozen=True, slots=True)
class Operation:
    """``keep``, ``replace``, ``insert`` or ``delete``: places and texts of the token on both sides."""

    op: str
    source: int
    target: int
    source_text: str
    target_text: str


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The smallest correction; ``edits`` applied together give ``rewritten``.

    ``verified`` is None where the answer could not be compared. ``weights`` has one number per token of the rewrite
    (``token_ids``, ``offsets``) and one for its end marker.
    """

    id: str
    rewritten: str
    error_step: int | None
    verified: bool | None
    correct: bool | None
    edits: tuple[Edit, ...]
    operations: tuple[Operation, ...]
    edit_distance: int
    edit_ratio: float
    prefix_preserved: bool
    weights: tuple[float, ...]
    token_ids: tuple[int, ...] | None
    offsets: tuple[tuple[int, int], ...]
    critique: str
    record: Mapping[str, Any] | None
    training_rows: tuple[Mapping[str, str], ...]
    rlmec_row: Mapping[str, Any] | None
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """A rollout that could not be judged. It has no rewards: mask it out, never count it as 0.0.

    ``kind`` is the service's word for why, or ``unreachable`` where nobody answered; ``detail`` is for people.
    """

    id: str
    kind: str
    detail: str
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer(Generic[S]):
    """One result per rollout, in order, and the recipe they were judged by (``recipe["id"]`` can be pinned).

    ``batch`` is what holds for the call as a whole, such as ``positive_ratio`` of sequence rewards. The recipe of a
    call that nobody answered is empty.
    """

    results: tuple[S | Failed, ...]
    recipe: Mapping[str, Any]
    batch: Mapping[str, Any] = field(default_factory=dict)


def failed_result(id: str, kind: str, detail: str) -> dict[str, Any]:
    """A rollout that could not be judged, as the service says it; read by ``read_failed``."""
    return {"id": id, "status": "failed", "failure": {"kind": kind, "detail": detail}}


def read_failed(result: Mapping[str, Any]) -> Failed:
    """A result whose status is ``failed``."""
    return Failed(result["id"], result["failure"]["kind"], result["failure"]["detail"], result)


def read_tokens(body: Mapping[str, Any]) -> Answer[Scored]:
    """The body of a 200 answer of ``/score/token``."""
    return _read(body, _scored)


def read_segments(body: Mapping[str, Any]) -> Answer[SegmentScored]:
    """The body of a 200 answer of ``/score/segment``."""
    return _read(body, _segment_scored)


def read_sequences(body: Mapping[str, Any]) -> Answer[SequenceScored]:
    """The body of a 200 answer of ``/score/sequence``."""
    return _read(body, _sequence_scored)


def read_probes(body: Mapping[str, Any]) -> Answer[Probed]:
    """The body of a 200 answer of ``/score/token`` by method ``grm``."""
    return _read(body, _probed)


def read_rewrites(body: Mapping[str, Any]) -> Answer[Rewritten]:
    """The body of a 200 answer of ``/rewrite``."""
    return _read(body, _rewritten)


def _read(body: Mapping[str, Any], scored: Callable[[Mapping[str, Any]], S]) -> Answer[S]:
    results = (
        read_failed(result) if result["status"] == "failed" else scored(result) for result in body["results"]
    )
    return Answer(tuple(results), body["recipe"], body.get("batch", {}))


def _scored(result: Mapping[str, Any]) -> Scored:
    return Scored(
        id=result["id"],
        rewards=tuple(result["rewards"]),
        intrinsic=tuple(result["intrinsic"]),
        offsets=_offsets(result),
        spans=tuple(_span(span) for span in result["spans"]),
        critique=result["critique"],
        raw=result,
    )


def _segment_scored(result: Mapping[str, Any]) -> SegmentScored:
    return SegmentScored(
        id=result["id"],
        rewards=tuple(result["rewards"]),
        intrinsic=tuple(result["intrinsic"]),
        offsets=_offsets(result),
        segments=tuple(_segment(segment) for segment in result["segments"]),
        sequence_score=result["sequence_score"],
        raw=result,
    )


def _sequence_scored(result: Mapping[str, Any]) -> SequenceScored:
    return SequenceScored(
        id=result["id"],
        components=result["components"],
        reward=result["reward"],
        value=result["value"],
        advantage=result["advantage"],
        keep=result["keep"],
        sampling_weight=result["sampling_weight"],
        criteria=result.get("criteria", {}),
        raw=result,
    )


def _probed(result: Mapping[str, Any]) -> Probed:
    logprobs = result.get("ref_logprobs")
    return Probed(
        id=result["id"],
        rewards=tuple(result["rewards"]),
        intrinsic=tuple(result["intrinsic"]),
        offsets=_offsets(result),
        probs=tuple(result["probs"]),
        ref_logprobs=None if logprobs is None else tuple(logprobs),
        branch=result["branch"],
        all_zero=result["all_zero"],
        end=result.get("end"),
        raw=result,
    )


def _rewritten(result: Mapping[str, Any]) -> Rewritten:
    ids = result.get("token_ids")
    return Rewritten(
        id=result["id"],
        rewritten=result["rewritten"],
        error_step=result["error_step"],
        verified=result["verified"],
        correct=result["correct"],
        edits=tuple(Edit(**{name: edit[name] for name in Edit.__slots__}) for edit in result["edits"]),
        operations=tuple(
            Operation(**{name: step[name] for name in Operation.__slots__}) for step in result["operations"]
        ),
        edit_distance=result["edit_distance"],
        edit_ratio=result["edit_ratio"],
        prefix_preserved=result["prefix_preserved"],
        weights=tuple(result["weights"]),
        token_ids=None if ids is None else tuple(ids),
        offsets=_offsets(result),
        critique=result["critique"],
        record=result.get("record"),
        training_rows=tuple(result.get("training_rows", ())),
        rlmec_row=result.get("rlmec_row"),
        raw=result,
    )


def _offsets(result: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    return tuple((start, end) for start, end in result["offsets"])


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
