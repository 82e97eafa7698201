"""What Assay answers for one rollout."""

from dataclasses import dataclass
from enum import StrEnum

from .text import Segment, Span


class Match(StrEnum):
    """How a quote of the critic was found in the completion."""

    EXACT = "exact"
    CASE = "case"
    WHITESPACE = "whitespace"
    UNICODE = "unicode"
    EDIT = "edit"
    ELLIPSIS = "ellipsis"
    STEP = "step"
    SUBSTRING = "substring"
    IN_PROMPT = "in_prompt"
    IMITATION = "imitation"
    OVER_LIMIT = "over_limit"
    NOT_FOUND = "not_found"

    @property
    def found(self) -> bool:
        """Whether the quote counts: it has a place, or was tested without one (``substring``)."""
        return self not in (Match.IN_PROMPT, Match.IMITATION, Match.OVER_LIMIT, Match.NOT_FOUND)


class Polarity(StrEnum):
    """Whether a remark faults its span or praises it."""

    NEGATIVE = "negative"
    POSITIVE = "positive"


@dataclass(frozen=True, slots=True)
class Remark:
    """What the critic says of one span, before it is placed: a quote, a label, and its reason."""

    quote: str
    label: str
    reason: str | None = None
    severity: float = 1.0
    step: int | None = None
    polarity: Polarity = Polarity.NEGATIVE


@dataclass(frozen=True, slots=True)
class MarkedSpan:
    """A remark placed in the completion.

    ``span`` and ``segment`` are None where ``match`` is not found, or knows no place (``substring``).
    ``reward`` is what each token that lies wholly inside the span receives for it. ``vote`` is the index of
    the critique that made the remark.
    """

    text: str
    label: str
    reward: float
    match: Match
    span: Span | None = None
    segment: Segment | None = None
    reason: str | None = None
    polarity: Polarity = Polarity.NEGATIVE
    vote: int = 0


@dataclass(frozen=True, slots=True)
class TokenAnnotation:
    """One finite reward per completion token, and the reasons.

    ``rewards`` combine ``intrinsic`` (what Assay judged) with the extrinsic reward, in the order of the
    completion's tokens. ``queried`` is False when the gate spared the critic the call. ``empty_tokens`` are
    the indices of the policy's own tokens that stand for no text, special ones aside; they were left neutral.
    ``critiques`` has one text per vote. ``transient`` marks zeros that stand in for a critic that failed
    (compat mode): a repeated call may answer differently, so they are not to be remembered.
    """

    rewards: tuple[float, ...]
    intrinsic: tuple[float, ...]
    spans: tuple[MarkedSpan, ...] = ()
    critiques: tuple[str, ...] = ()
    queried: bool = True
    truncated_critique: bool = False
    empty_tokens: tuple[int, ...] = ()
    score_shown: str | None = None
    transient: bool = False


@dataclass(frozen=True, slots=True)
class ScoredSegment:
    """One piece of a completion and what it is worth.

    ``raw`` is what the segment model said, ``reward`` what the normalizer made of it: ``(raw - mean) / std``.
    ``progress`` is k / K in (0, 1] for the k-th of K segments. ``std_floored`` says that the normalizer's own
    deviation was too small to divide by.
    """

    segment: Segment
    span: Span
    raw: float
    reward: float
    progress: float
    mean: float
    std: float
    std_floored: bool = False


@dataclass(frozen=True, slots=True)
class SegmentAnnotation:
    """One finite reward per completion token, and the segments that they come from.

    ``rewards`` combine ``intrinsic`` (what Assay judged) with the extrinsic reward. ``sequence_score`` is the mean
    of the raw segment rewards, None without segments. ``entropies`` (nats) belong to the distribution behind each
    token and are there when the caller asked for them. ``transferred`` says that a model read tokens of its own,
    so that places were brought over by characters. ``prompt_tokens_dropped`` were cut off on the prompt's left.
    ``penalized`` says that the end penalty stands in place of every intrinsic reward.
    """

    rewards: tuple[float, ...]
    intrinsic: tuple[float, ...]
    segments: tuple[ScoredSegment, ...] = ()
    sequence_score: float | None = None
    entropies: tuple[float, ...] | None = None
    transferred: bool = False
    prompt_tokens_dropped: int = 0
    penalized: bool = False
    transient: bool = False
