"""One completion as it is cut and as the models read it: the same, but for what the released code does to its end."""

from dataclasses import dataclass, replace

from ..domain.rollout import Completion
from ..domain.text import Alignment, Segment
from .options import Mode


@dataclass(frozen=True, slots=True)
class Subject:
    """``cut`` has a token for every reward. ``read`` lacks the last one where an end marker stands in its place."""

    cut: Completion
    read: Completion

    def as_read(self, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
        """The segments in tokens of ``read``."""
        end = len(self.read)
        return tuple(Segment(min(part.start, end), min(part.end, end)) for part in segments)


def subject_of(completion: Completion, mode: Mode) -> Subject:
    """The completion as it is; in compat mode a truncated one ends in a marker.

    The released code writes its end marker over the last token of a completion that has none (papers.md 2.4).
    """
    last = len(completion) - 1
    if mode is Mode.STRICT or not completion.truncated or last < 0:
        return Subject(completion, completion)
    return Subject(
        cut=replace(completion, special=completion.special | {last}, truncated=False),
        read=_without_last(completion, last),
    )


def _without_last(completion: Completion, last: int) -> Completion:
    whole = completion.alignment
    spans = whole.token_spans[:last]
    end = max((span.end for span in spans), default=0)
    ids = None if whole.token_ids is None else whole.token_ids[:last]
    return Completion(
        alignment=Alignment(whole.text[:end], ids, spans),
        special=completion.special - {last},
        mask=None if completion.mask is None else completion.mask[:last],
    )
