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
    STEP = "step"
    SUBSTRING = "substring"
    IN_PROMPT = "in_prompt"
    NOT_FOUND = "not_found"

    @property
    def found(self) -> bool:
        """Whether the quote points at characters of the completion."""
        return self not in (Match.IN_PROMPT, Match.NOT_FOUND)


@dataclass(frozen=True, slots=True)
class Remark:
    """What the critic says of one span, before it is placed: a quote, a label, and its reason."""

    quote: str
    label: str
    reason: str | None = None
    severity: float = 1.0
    step: int | None = None


@dataclass(frozen=True, slots=True)
class MarkedSpan:
    """A remark placed in the completion: ``span`` and ``segment`` are None where ``match`` is not found.

    ``reward`` is what each token that lies wholly inside the span receives for it.
    """

    text: str
    label: str
    reward: float
    match: Match
    span: Span | None = None
    segment: Segment | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class TokenAnnotation:
    """One finite reward per completion token, and the reasons.

    ``rewards`` combine ``intrinsic`` (what Assay judged) with the extrinsic reward, in the order of the
    completion's tokens. ``queried`` is False when the gate spared the critic the call. ``empty_tokens`` are
    the indices of tokens that stand for no text and were left neutral. ``critiques`` has one text per vote.
    """

    rewards: tuple[float, ...]
    intrinsic: tuple[float, ...]
    spans: tuple[MarkedSpan, ...] = ()
    critiques: tuple[str, ...] = ()
    queried: bool = True
    truncated_critique: bool = False
    empty_tokens: tuple[int, ...] = ()
    score_shown: str | None = None
