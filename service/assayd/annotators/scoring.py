"""From marked spans to one reward per token, and to the combined rewards (papers.md 1.5, 1.6, 5.2).

The arithmetic lives on characters: within one polarity overlapping spans unite, and the stronger wins where
they differ; the two polarities add up. A token then takes what its characters say, by ``token_overlap``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from ..domain.annotation import MarkedSpan, Polarity
from ..domain.rollout import Completion
from ..domain.text import Span
from .options import TokenOverlap


@dataclass(frozen=True, slots=True)
class TokenValues:
    """Intrinsic rewards, and which tokens owe theirs to a mark."""

    intrinsic: tuple[float, ...]
    marked: tuple[bool, ...]

    def without(self, *indices: int) -> "TokenValues":
        """The same, with nothing for the tokens at these indices."""
        silenced = frozenset(indices)
        return TokenValues(
            tuple(0.0 if index in silenced else value for index, value in enumerate(self.intrinsic)),
            tuple(marked and index not in silenced for index, marked in enumerate(self.marked)),
        )


def offset_values(
    completion: Completion,
    marks: Sequence[MarkedSpan],
    *,
    unmarked: float,
    overlap: TokenOverlap,
    imitated: Sequence[Span] = (),
) -> TokenValues:
    """The reward of every token by place.

    Tokens in ``imitated`` characters never earn: what they would gain is 0. Special, masked-out and empty
    tokens are 0.
    """
    negative = _paint(completion.text, [mark for mark in marks if mark.polarity is Polarity.NEGATIVE])
    positive = _paint(completion.text, [mark for mark in marks if mark.polarity is Polarity.POSITIVE])
    earns = _outside(completion.text, imitated)
    values: list[tuple[float, bool]] = []
    for index, span in enumerate(completion.alignment.token_spans):
        if not span or is_silent(completion, index):
            values.append((0.0, False))
            continue
        at = slice(span.start, span.end)
        values.append(_token_value(negative[at], positive[at], earns[at], unmarked, overlap))
    return TokenValues(tuple(value for value, _ in values), tuple(marked for _, marked in values))


def combine(
    intrinsic: Sequence[float], *, extrinsic: float | None, last: int, alpha_int: float, alpha_ext: float
) -> tuple[float, ...]:
    """``alpha_int * intrinsic``, and ``alpha_ext * extrinsic`` on the last real token (papers.md 1.6, R9)."""
    rewards = [alpha_int * value for value in intrinsic]
    if extrinsic is not None:
        rewards[last] += alpha_ext * extrinsic
    return tuple(reward + 0.0 for reward in rewards)  # never -0.0


def is_silent(completion: Completion, index: int) -> bool:
    """Whether a token is a marker or was not written by the policy: it has no intrinsic reward."""
    return index in completion.special or is_masked(completion, index)


def is_masked(completion: Completion, index: int) -> bool:
    """Whether a token was not written by the policy."""
    return completion.mask is not None and not completion.mask[index]


def last_real_token(completion: Completion) -> int | None:
    """The last token that the policy wrote, its EOS included; None where it wrote none."""
    real = [index for index in range(len(completion)) if not is_masked(completion, index)]
    return real[-1] if real else None


def empty_tokens(completion: Completion) -> tuple[int, ...]:
    """The policy's tokens that stand for no text although they are no markers."""
    spans = enumerate(completion.alignment.token_spans)
    return tuple(index for index, span in spans if not span and not is_silent(completion, index))


def _paint(text: str, marks: Sequence[MarkedSpan]) -> list[float | None]:
    """Per character the strongest reward of the spans that hold it; None outside of all of them."""
    painted: list[float | None] = [None] * len(text)
    for mark in sorted(marks, key=lambda mark: abs(mark.reward)):
        if mark.span is not None:
            painted[mark.span.start : mark.span.end] = [mark.reward] * len(mark.span)
    return painted


def _outside(text: str, spans: Sequence[Span]) -> list[bool]:
    outside = [True] * len(text)
    for span in spans:
        outside[span.start : span.end] = [False] * len(span)
    return outside


def _token_value(
    negative: list[float | None],
    positive: list[float | None],
    earns: list[bool],
    unmarked: float,
    overlap: TokenOverlap,
) -> tuple[float, bool]:
    if overlap is TokenOverlap.FRACTION:
        characters = [_sum(pair, unmarked) for pair in zip(negative, positive, strict=True)]
        kept = [value if free else min(value, 0.0) for value, free in zip(characters, earns, strict=True)]
        return fmean(kept) + 0.0, any(value is not None for value in (*negative, *positive))
    hits = (_hit(negative, overlap), _hit(positive, overlap))
    value = _sum(hits, unmarked)
    return (value if all(earns) else min(value, 0.0)) + 0.0, hits != (None, None)


def _hit(characters: list[float | None], overlap: TokenOverlap) -> float | None:
    """What the marks of one polarity are worth to a token of these characters; None where they miss it."""
    inside = [value for value in characters if value is not None]
    enough = 2 * len(inside) > len(characters) if overlap is TokenOverlap.MAJORITY else bool(inside)
    return max(inside, key=abs) if enough else None


def _sum(pair: tuple[float | None, float | None], unmarked: float) -> float:
    hits = [value for value in pair if value is not None]
    return sum(hits) if hits else unmarked
