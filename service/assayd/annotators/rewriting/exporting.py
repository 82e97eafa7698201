"""Adds the training rows that a caller asked for."""

from dataclasses import dataclass, replace

from ...domain.ports import Annotator, Deadline
from ...domain.provenance import Usage
from ...domain.rewriting import ProbeAnnotation, RewriteAnnotation, Tokenizes
from ...domain.rollout import Rollout
from ..options import Mode
from .asking import RewritePrompts
from .edits import content
from .options import Row, Settled
from .rows import record, rlmec_row, training_rows


@dataclass(frozen=True, slots=True)
class RowWriter:
    """Writes rows with ``prompts``; ``prober`` makes the rewards of RLMEC rows, which count the policy's tokens."""

    options: Settled
    mode: Mode
    prompts: RewritePrompts
    prober: Annotator[ProbeAnnotation] | None
    tokenizer: Tokenizes

    async def with_rows(
        self, rollout: Rollout, annotation: RewriteAnnotation, deadline: Deadline
    ) -> tuple[RewriteAnnotation, Usage]:
        """The same annotation with its rows; a row that the rewrite does not qualify for is left out."""
        asked, usage = self.options.rows, Usage()
        if Row.RECORD in asked:
            annotation = replace(annotation, record=record(rollout, annotation, self.mode))
        if Row.GRM in asked and self.prompts.locate is not None:
            rows = training_rows(
                rollout,
                annotation,
                locate=self.prompts.locate,
                fix=self.prompts.fix,
                separator=self.options.step_split,
            )
            annotation = replace(annotation, training_rows=rows)
        paid = Row.RLMEC in asked and annotation.verified and annotation.correct is not None
        if paid and self.prober is not None and await self._reads_back(rollout):
            known = replace(rollout, correct=annotation.correct)
            probe, usage = await self.prober.annotate(known, deadline=deadline)
            annotation = replace(annotation, rlmec_row=rlmec_row(rollout, annotation, probe))
        return annotation, usage

    async def _reads_back(self, rollout: Rollout) -> bool:
        """Whether the text gives the very tokens again: the paper's trainer reads rows as text and counts tokens."""
        sent = content(rollout.completion)
        read = await self.tokenizer.encode(sent.text)
        return sent.token_spans == read.token_spans and sent.token_ids in (None, read.token_ids)
