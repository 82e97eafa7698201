"""Locate, then fix: a rewriter at work as the service lets it work, on rows that have a right answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assayd.annotators.reading import Reply
from assayd.annotators.rewriting.continuing import joined
from assayd.annotators.rewriting.labels import Finding, Located, read_label
from assayd.annotators.rewriting.lines import split_steps

from .asking import Asking, Task, found_in
from .examples import answer_ids
from .rows import SEPARATOR, Row, kept_before
from .writing import write

ROOM_TOKENS = 16
"""How much longer than the right answer one may become before it is cut."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What was found, and the text it led to: None where that could not be read."""

    located: Located
    text: str | None


@dataclass(frozen=True, slots=True)
class Corrector:
    """A model with its tokenizer, and how it is asked."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    asking: Asking

    def __call__(self, rows: Sequence[Row]) -> list[Correction]:
        """Correct each row, in order."""
        found = self._located(rows)
        kept = {
            at: kept_before(rows[at].prediction, located.step)
            for at, located in enumerate(found)
            if located.step is not None
        }
        fixed = self._fixed([rows[at] for at in kept], list(kept.values()))
        texts = dict(zip(kept, fixed, strict=True))
        texts |= {
            at: rows[at].prediction for at, located in enumerate(found) if located.finding is Finding.CORRECT
        }
        return [Correction(located, texts.get(at)) for at, located in enumerate(found)]

    def _located(self, rows: Sequence[Row]) -> list[Located]:
        prompts = [self.asking.asked(row, Task.LOCATE) for row in rows]
        replies = write(self.model, self.tokenizer, prompts, self._bounds([found_in(row) for row in rows]))
        return [
            read_label(Reply(reply.text, reply.cut, len(split_steps(row.prediction, SEPARATOR))), base=0)
            for row, reply in zip(rows, replies, strict=True)
        ]

    def _fixed(self, rows: Sequence[Row], kept: Sequence[str]) -> list[str]:
        prompts = [
            self.asking.asked(row, Task.FIX, begun=begun) for row, begun in zip(rows, kept, strict=True)
        ]
        longest = self._bounds([row.correction for row in rows])
        replies = write(self.model, self.tokenizer, prompts, longest)
        return [
            joined(begun, reply.text, row.prediction)
            for row, begun, reply in zip(rows, kept, replies, strict=True)
        ]

    def _bounds(self, answers: Sequence[str]) -> list[int]:
        return [len(ids) + ROOM_TOKENS for ids in answer_ids(self.tokenizer, answers)] if answers else []
