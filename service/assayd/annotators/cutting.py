"""Cuts a completion into segments: where the policy was unsure, or by one of the plainer rules (papers.md 2.1).

A segment holds tokens that the policy wrote and nothing else, so tokens that a mask excludes part two segments. The
end marker belongs to no segment, except in bandit mode and where the caller wants it to; padding never does.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from ..domain.ports import WeighsTokens
from ..domain.rollout import Completion
from ..domain.text import Segment, Span
from .sentences import sentence_spans
from .steps import step_spans


class Segmenter(StrEnum):
    """What ends a segment: an open choice behind a token, a sentence, a line, or so many tokens."""

    ENTROPY = "entropy"
    SENTENCE = "sentence"
    STEP = "step"
    FIXED = "fixed"


class BoundaryMode(StrEnum):
    """Whether the segmenter decides, or each token stands alone, or the completion is one piece."""

    SEGMENT = "segment"
    TOKEN = "token"  # noqa: S105 - a mode, no secret
    BANDIT = "bandit"


class EntropyIndex(StrEnum):
    """Which distribution the entropy at a token's place is of.

    ``next``: the one behind the token, as in the released code. ``sampled``: the one that the token was drawn from,
    which is what samplers report.
    """

    NEXT = "next"
    SAMPLED = "sampled"


@dataclass(frozen=True, slots=True)
class Cut:
    """How to cut. ``c_ent`` is the cutoff of the entropy segmenter in nats, ``segment_length`` the fixed one's tokens.

    In token and bandit mode the segmenter has no say.
    """

    segmenter: Segmenter = Segmenter.ENTROPY
    boundary_mode: BoundaryMode = BoundaryMode.SEGMENT
    c_ent: float = 1.75
    segment_length: int = 32

    def __str__(self) -> str:
        """In a few words."""
        if self.boundary_mode is not BoundaryMode.SEGMENT:
            return f"boundary_mode {self.boundary_mode}"
        numbers = {
            Segmenter.ENTROPY: f" at c_ent {self.c_ent:g}",
            Segmenter.FIXED: f" of {self.segment_length}",
        }
        return f"segmenter {self.segmenter}{numbers.get(self.segmenter, '')}"

    @property
    def settled(self) -> "Cut":
        """The same with the default in every field that has no say, so that equal ways to cut are equal."""
        if self.boundary_mode is not BoundaryMode.SEGMENT:
            return Cut(boundary_mode=self.boundary_mode)
        match self.segmenter:
            case Segmenter.ENTROPY:
                return Cut(c_ent=self.c_ent)
            case Segmenter.FIXED:
                return Cut(segmenter=self.segmenter, segment_length=self.segment_length)
            case _:
                return Cut(segmenter=self.segmenter)

    @property
    def needs_entropies(self) -> bool:
        """Whether it looks at entropies at all."""
        return self.boundary_mode is BoundaryMode.SEGMENT and self.segmenter is Segmenter.ENTROPY


def cut(
    completion: Completion, entropies: Sequence[float] | None, how: Cut, *, end_marker: bool = False
) -> tuple[Segment, ...]:
    """The segments of a completion, in order; none where the policy wrote nothing that belongs to one.

    ``entropies`` (nats, one per token) are of the distribution *behind* each token, see ``behind``. A segment ends
    at a token whose entropy is above ``c_ent``, strictly, and wherever the policy's own tokens end. With
    ``end_marker`` the last segment runs to the end marker and includes it.
    """
    bandit = how.boundary_mode is BoundaryMode.BANDIT
    stop = content_end(completion) + (bandit or end_marker)
    runs = tuple(own_runs(completion, min(stop, len(completion))))
    if bandit:
        return (Segment(runs[0].start, runs[-1].end),) if runs else ()
    ends = frozenset(_ends(completion, runs, entropies, how))
    return tuple(segment for run in runs for segment in _parted(run, ends))


def behind(entropies: Sequence[float], index: EntropyIndex) -> tuple[float, ...]:
    """Entropies of the distribution behind each token, whichever way they were sent (papers.md 2.1, index trap).

    The one behind the last token is not among those that tokens were drawn from. It is given as 0: nothing can be
    cut there.
    """
    return tuple(entropies) if index is EntropyIndex.NEXT else (*entropies[1:], *(0.0,) * bool(entropies))


def content_end(completion: Completion) -> int:
    """The place of the end marker, or the number of tokens where there is none.

    Offsets come without a word on which tokens are special: there a marker is what has no text at the very end.
    """
    end, spans = len(completion), completion.alignment.token_spans
    while end and (end - 1 in completion.special or not spans[end - 1]):
        end -= 1
    return end


def own_runs(completion: Completion, end: int) -> Iterator[Segment]:
    """The longest stretches before ``end`` that the policy wrote without a break."""
    mask = completion.mask or (True,) * end
    edges = [index for index in range(1, end) if mask[index] != mask[index - 1]]
    for start, stop in pairwise((0, *edges, end)):
        if stop > start and mask[start]:
            yield Segment(start, stop)


def _ends(
    completion: Completion, runs: Iterable[Segment], entropies: Sequence[float] | None, how: Cut
) -> Iterable[int]:
    """The tokens that end a segment by the rule alone."""
    if how.boundary_mode is BoundaryMode.TOKEN:
        return range(len(completion))
    match how.segmenter:
        case Segmenter.ENTROPY:
            if entropies is None or len(entropies) != len(completion):
                raise ValueError("the entropy segmenter needs one entropy per token")
            return (index for index, entropy in enumerate(entropies) if entropy > how.c_ent)
        case Segmenter.SENTENCE:
            return _last_tokens(completion, sentence_spans(completion.text))
        case Segmenter.STEP:
            return _last_tokens(completion, _lines(completion.text))
        case Segmenter.FIXED:
            return (end - 1 for run in runs for end in range(run.start, run.end, how.segment_length))


def _last_tokens(completion: Completion, spans: Iterable[Span]) -> Iterator[int]:
    return (completion.alignment.segment_of(span).end - 1 for span in spans if span)


def _lines(text: str) -> Iterator[Span]:
    """The non-blank lines, each with the line breaks that end it."""
    starts = [span.start for span in step_spans(text)]
    return (Span(start, stop) for start, stop in pairwise((*starts, len(text))))


def _parted(run: Segment, ends: frozenset[int]) -> Iterator[Segment]:
    last = run.end - 1
    stops = [index + 1 for index in range(run.start, last) if index in ends]
    return (Segment(start, stop) for start, stop in pairwise((run.start, *stops, run.end)))


def approximation(weigher: WeighsTokens) -> dict[str, str]:
    """What the recipe says of entropies that are not exact; nothing of those that are."""
    approx = weigher.entropy_approx
    return {} if approx is None else {"entropy_approx": approx}
