"""The way from a prediction to its rewrite: token by token, and as the characters a person would change.

Both sides end in one end marker, however the completion was sent; a truncated prediction has none.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from rapidfuzz.distance import Levenshtein

from ...domain.rewriting import Change, Edit, Operation
from ...domain.rollout import Completion
from ...domain.text import Alignment, Span
from ..cutting import content_end

END: Final = None
"""The end marker among keys."""
Key: TypeAlias = Hashable
_CHANGES: Final = {"replace": Change.REPLACE, "insert": Change.INSERT, "delete": Change.DELETE}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two texts in the same tokens. ``keys`` tell tokens apart, the end marker included."""

    source: Alignment
    target: Alignment
    source_keys: tuple[Key, ...]
    target_keys: tuple[Key, ...]
    operations: tuple[Operation, ...]

    @property
    def distance(self) -> int:
        """How many operations change something: Levenshtein's distance at unit costs."""
        return sum(operation.change is not Change.KEEP for operation in self.operations)

    @property
    def ratio(self) -> float:
        """The distance per token of the longer side: from 0, the same, to 1, nothing in common."""
        return self.distance / max(len(self.source_keys), len(self.target_keys), 1)


def compare(source: Alignment, target: Alignment, *, finished: bool = True) -> Comparison:
    """The shortest way from ``source`` to ``target``; ``finished`` says that the source has an end marker.

    Tokens are the same where their ids are; where one side has none, where their texts are.
    """
    by_id = source.token_ids is not None and target.token_ids is not None
    source_keys = (*_keys(source, by_id=by_id), *(END,) * finished)
    target_keys = (*_keys(target, by_id=by_id), END)
    operations = tuple(_operations(source, target, source_keys, target_keys))
    return Comparison(source, target, source_keys, target_keys, operations)


def content(completion: Completion) -> Alignment:
    """The completion's tokens without the markers behind them."""
    whole, end = completion.alignment, content_end(completion)
    ids = None if whole.token_ids is None else whole.token_ids[:end]
    return Alignment(whole.text, ids, whole.token_spans[:end])


def changed_tokens(comparison: Comparison) -> tuple[bool, ...]:
    """Which tokens of the rewrite were put in: replaced or inserted. A deletion marks none, for none stands for it."""
    changed = [False] * len(comparison.target_keys)
    for operation in comparison.operations:
        if operation.change in (Change.REPLACE, Change.INSERT):
            changed[operation.target] = True
    return tuple(changed)


def edits_of(comparison: Comparison, completion: Completion) -> tuple[Edit, ...]:
    """The same change as replaced characters; applied together they give the rewrite exactly.

    What lies between two tokens that were kept is one edit, unless its characters are the same after all. A token
    that shares a character with its neighbour (an emoji cut in two) parts no edits.
    """
    source, target = comparison.source, comparison.target
    edits, before, after = [], 0, 0
    for kept, stays in (*_anchors(comparison), (_end(source), _end(target))):
        if kept.start < before or stays.start < after:
            continue
        span, replacement = Span(before, kept.start), target.text[after : stays.start]
        if span.of(source.text) != replacement:
            edits.append(Edit(span, completion.alignment.segment_of(span), replacement))
        before, after = kept.end, stays.end
    return tuple(edits)


def applied(text: str, edits: Sequence[Edit]) -> str:
    """``text`` with the edits made."""
    for edit in reversed(edits):
        text = text[: edit.span.start] + edit.replacement + text[edit.span.end :]
    return text


def _keys(alignment: Alignment, *, by_id: bool) -> tuple[Key, ...]:
    if by_id and alignment.token_ids is not None:
        return alignment.token_ids
    return tuple(span.of(alignment.text) for span in alignment.token_spans)


def _operations(
    source: Alignment, target: Alignment, source_keys: Sequence[Key], target_keys: Sequence[Key]
) -> list[Operation]:
    def operation(change: Change, i: int, j: int) -> Operation:
        here = _text(source, i) if change is not Change.INSERT else ""
        there = _text(target, j) if change is not Change.DELETE else ""
        return Operation(change, i, j, here, there)

    operations, i, j = [], 0, 0
    for step in Levenshtein.editops(source_keys, target_keys):
        while i < step.src_pos:
            operations.append(operation(Change.KEEP, i, j))
            i, j = i + 1, j + 1
        operations.append(operation(_CHANGES[step.tag], i, j))
        i, j = i + (step.tag != "insert"), j + (step.tag != "delete")
    operations += [operation(Change.KEEP, i + k, j + k) for k in range(len(source_keys) - i)]
    return operations


def _anchors(comparison: Comparison) -> list[tuple[Span, Span]]:
    """The characters of kept tokens on both sides, where they are those tokens' alone and the same."""
    source, target = comparison.source, comparison.target
    pairs = []
    for operation in comparison.operations:
        i, j = operation.source, operation.target
        if operation.change is not Change.KEEP or i >= len(source) or j >= len(target):
            continue
        kept, stays = source.token_spans[i], target.token_spans[j]
        alone = _alone(source, i) and _alone(target, j)
        if kept and alone and kept.of(source.text) == stays.of(target.text):
            pairs.append((kept, stays))
    return pairs


def _alone(alignment: Alignment, index: int) -> bool:
    spans = alignment.token_spans
    span = spans[index]
    neighbours = spans[max(index - 1, 0) : index] + spans[index + 1 : index + 2]
    return not any(span.overlap(other) for other in neighbours)


def _end(alignment: Alignment) -> Span:
    return Span(len(alignment.text), len(alignment.text))


def _text(alignment: Alignment, index: int) -> str:
    return alignment.token_spans[index].of(alignment.text) if index < len(alignment) else ""
