"""Writes text with a causal language model, many rows at a time, each by its own sampling, stops and seed.

``transformers.generate`` knows neither seeds nor stops nor cancellation per row; this loop does. Rows that
are done leave, waiting rows join between two steps, and what a row says does not depend on its company: rows
are padded on the left behind a mask, positions are counted from the mask, logits are float32, and every row
draws from a generator of its own. (Sums are rounded differently in batches of another shape, so two tokens
within a rounding error of each other may still change places.)
"""

import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from ...domain.failure import Blame, FailureKind
from ...domain.ports import FinishReason, Generation, Sampling
from ...domain.provenance import Usage
from ..batcher import NOT_FINITE, Job, Joiners
from .attention_cache import can_stack, new_cache, stack
from .grouping import groups_by_length
from .token_choice import pick

PREFILL_TOKENS: Final = 2048
"""Padded prompt tokens read in one forward pass."""
PASS_COSTS_TOKENS: Final = 64
"""A forward pass costs about as much as so many tokens: padding beyond that is dearer than a second pass."""
STEPS_BETWEEN_JOINS: Final = 32
PASS_COSTS_COLUMNS: Final = 10_000
"""The same for a token written beside others: attending to so many places of padding costs as much as a pass."""
LEAVE_SHARE: Final = 4
"""Rows leave and join after so many steps, or once one in so many would: each time the cache is copied."""


@dataclass(slots=True, eq=False)
class Row:
    """A prompt and what has been written behind it.

    ``first`` are the probabilities, when the first token is written, that it is one of each set of ids in ``watched``.
    """

    prompt_ids: Sequence[int]
    sampling: Sampling
    watched: tuple[tuple[int, ...], ...] = ()
    first: tuple[float, ...] = ()
    written: list[int] = field(default_factory=list)
    generator: torch.Generator | None = None

    def begin(self) -> None:
        """Forget what was written, so that a second attempt gives the same text."""
        self.written, self.generator = [], None
        if self.sampling.temperature > 0:
            self.generator = torch.Generator()
            if self.sampling.seed is None:
                self.generator.seed()
            else:
                self.generator.manual_seed(self.sampling.seed)

    @property
    def columns(self) -> int:
        """Places it has in the cache: all but the token written last, which is yet to be read."""
        return len(self.prompt_ids) + len(self.written) - 1

    def draw(self) -> float:
        """The next number in [0, 1) of this row; rows that are greedy need none."""
        return 0.0 if self.generator is None else torch.rand((), generator=self.generator).item()


WritingJob: TypeAlias = Job[Row, Generation]


@dataclass(slots=True, eq=False)
class _Batch:
    """Rows that are being written: ``last_b`` are the tokens written last, ``mask_bt`` hides the padding."""

    jobs: list[WritingJob]
    last_b: Tensor
    mask_bt: Tensor
    cache: Cache


class Decoder:
    """A model and its way to end. ``passes`` and ``rows`` count forward passes and the rows in them."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, end_ids: frozenset[int]
    ) -> None:
        self.model = model
        self._tokenizer = tokenizer
        self._end_ids = end_ids
        self._accepts = frozenset(inspect.signature(model.forward).parameters)
        # Padding would run through a recurrent state, and would shift positions that the model counts itself.
        self.can_share = can_stack(model.config) and "position_ids" in self._accepts
        """Whether rows may share a batch; where not, each must be run alone."""
        config = model.config.get_text_config(decoder=True)
        self._last_position = (getattr(config, "max_position_embeddings", None) or sys.maxsize) - 1
        self.passes = self.rows = 0

    def run(self, jobs: list[WritingJob], joiners: Joiners[Row, Generation]) -> None:
        """Answer ``jobs``, and those that join meanwhile, each as soon as it is done."""
        with torch.inference_mode():
            batches = self._regrouped(self._prefilled(jobs))
            while batches:
                joining = self._step_on(batches, joiners)
                batches = self._regrouped([*batches, *self._prefilled(joining)])

    def _prefilled(self, jobs: list[WritingJob]) -> list[_Batch]:
        lengths = [len(job.item.prompt_ids) for job in jobs]
        groups = groups_by_length(lengths, padding=PASS_COSTS_TOKENS, size=PREFILL_TOKENS)
        waiting = ([jobs[index] for index in group if not jobs[index].gone] for group in groups)
        return [self._prefill(group) for group in waiting if group]

    def _prefill(self, jobs: list[WritingJob]) -> _Batch:
        columns = max(len(job.item.prompt_ids) for job in jobs)
        for job in jobs:
            job.item.begin()
        ids_bt = self._left_padded([job.item.prompt_ids for job in jobs], columns)
        mask_bt = self._left_padded([[1] * len(job.item.prompt_ids) for job in jobs], columns)
        batch = _Batch(jobs, ids_bt[:, -1], mask_bt, new_cache(self.model.config))
        self._write(batch, self._forward(batch, ids_bt, (mask_bt.cumsum(-1) - 1).clamp(min=0)))
        return batch

    def _step_on(self, batches: list[_Batch], joiners: Joiners[Row, Generation]) -> list[WritingJob]:
        """Write on until enough rows leave or join to pay for copying the cache; give those that join."""
        jobs = [job for batch in batches for job in batch.jobs]
        enough = -(-len(jobs) // LEAVE_SHARE)
        for _ in range(STEPS_BETWEEN_JOINS):
            for batch in batches:
                self._step(batch)
            leaving = sum(job.gone for job in jobs)
            joining = joiners(max(1, enough - leaving))
            if joining or leaving >= enough:
                return joining
        return joiners(1)

    def _step(self, batch: _Batch) -> None:
        batch.mask_bt = functional.pad(batch.mask_bt, (0, 1), value=1)
        # A row that is done may linger past the model's last position.
        position_b1 = (batch.mask_bt.sum(-1, keepdim=True) - 1).clamp(max=self._last_position)
        self._write(batch, self._forward(batch, batch.last_b[:, None], position_b1))

    def _regrouped(self, parts: list[_Batch]) -> list[_Batch]:
        """The rows that are not done, in batches of nearly one length."""
        places = [
            (part, row, job.item.columns)
            for part in parts
            for row, job in enumerate(part.jobs)
            if not job.gone
        ]
        groups = groups_by_length([columns for _, _, columns in places], padding=PASS_COSTS_COLUMNS)
        return [self._stacked([places[index] for index in group]) for group in groups]

    def _stacked(self, places: list[tuple[_Batch, int, int]]) -> _Batch:
        """One batch of the named rows of each part."""
        rows_of: dict[_Batch, list[int]] = {}
        for part, row, _ in places:
            rows_of.setdefault(part, []).append(row)
        chosen = [(part, sorted(rows)) for part, rows in rows_of.items()]
        first, rows = chosen[0]
        if len(chosen) == 1 and len(rows) == len(first.jobs):
            return first
        columns = max(columns for _, _, columns in places)
        return _Batch(
            [part.jobs[row] for part, rows in chosen for row in rows],
            torch.cat([part.last_b[rows] for part, rows in chosen]),
            torch.cat([_right_aligned(part.mask_bt[rows], columns) for part, rows in chosen]),
            stack([(part.cache, rows) for part, rows in chosen], columns, self.model.config),
        )

    def _forward(self, batch: _Batch, ids_bt: Tensor, position_ids_bt: Tensor) -> Tensor:
        """The logits of the token that comes next, ``[rows, vocabulary]``, float32."""
        self.passes, self.rows = self.passes + 1, self.rows + len(batch.jobs)
        optional = {"position_ids": position_ids_bt, "logits_to_keep": 1}
        outputs = self.model(
            input_ids=ids_bt,
            attention_mask=batch.mask_bt,
            past_key_values=batch.cache,
            use_cache=True,
            **{name: value for name, value in optional.items() if name in self._accepts},
        )
        logits_bv: Tensor = outputs.logits[:, -1].float()
        return logits_bv

    def _write(self, batch: _Batch, logits_bv: Tensor) -> None:
        rows = [job.item for job in batch.jobs]
        batch.last_b = pick(logits_bv, [row.sampling for row in rows], [row.draw() for row in rows])
        finite = logits_bv.amax(-1).isfinite().tolist()
        written = zip(batch.jobs, batch.last_b.tolist(), finite, logits_bv, strict=True)
        for job, token_id, sound, logits_v in written:
            if job.gone:
                continue
            if not sound:
                job.fail(FailureKind.ENGINE, NOT_FINITE, blame=Blame.ALONE)
                continue
            if job.item.watched and not job.item.written:
                job.item.first = _shares(logits_v, job.item.watched)
            job.item.written.append(token_id)
            self._end(job)

    def _end(self, job: WritingJob) -> None:
        """Answer the job if its last token ended it."""
        row = job.item
        ended = row.written[-1] in self._end_ids
        text = self._cut(row) if not ended else self._text(row.written[:-1])
        if text is None and len(row.written) < row.sampling.max_tokens:
            return
        usage = Usage(1, len(row.prompt_ids), len(row.written))
        finish = FinishReason.LENGTH if text is None else FinishReason.STOP
        job.answer(Generation(self._text(row.written) if text is None else text, finish, usage))

    def _cut(self, row: Row) -> str | None:
        """The text before the first stop string, None when none was written."""
        if not row.sampling.stop:
            return None
        # A character takes four tokens at most, so no stop string that ends here begins before this tail.
        tail = self._text(row.written[-4 * max(map(len, row.sampling.stop)) - 4 :])
        if not any(stop in tail for stop in row.sampling.stop):
            return None
        text = self._text(row.written)
        found = [text.find(stop) for stop in row.sampling.stop if stop in text]
        return text[: min(found)] if found else None

    def _text(self, ids: Sequence[int]) -> str:
        return str(
            self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )

    def _left_padded(self, rows: Sequence[Sequence[int]], columns: int) -> Tensor:
        return torch.tensor(
            [[0] * (columns - len(row)) + list(row) for row in rows], device=self.model.device
        )


def _shares(logits_v: Tensor, watched: Sequence[Sequence[int]]) -> tuple[float, ...]:
    """The probability of each set of ids."""
    probabilities_v = logits_v.double().softmax(-1)
    return tuple(probabilities_v[list(ids)].sum().item() for ids in watched)


def _right_aligned(mask_bt: Tensor, columns: int) -> Tensor:
    # A negative pad cuts columns off.
    return functional.pad(mask_bt, (columns - mask_bt.shape[-1], 0))
