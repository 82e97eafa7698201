"""Where a rewrite begins: the first wrong step, and what stands before it."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...domain.annotation import MarkedSpan
from ...domain.failure import AnnotationFailed, FailureKind
from ...domain.ports import FinishReason, Generation
from ..options import Mode
from ..reading import Reply
from .labels import Finding, read_label, released_label
from .lines import released_prefix, split_steps, step_at
from .options import Settled
from .remarks import told

RELEASED_CORRECT = -1
"""What the released code calls the first wrong step where it has read "correct", or nothing."""


@dataclass(frozen=True, slots=True)
class Start:
    """``step`` is the first wrong one, from 0, where it is known; ``kept`` the prediction's own text before it.

    ``prefix`` is what the rewriter goes on from. ``sound``: nothing was found that is wrong. ``said`` is what the
    model said that was asked, ``remarks`` what the rewriter is told.
    """

    step: int | None = None
    kept: str = ""
    prefix: str = ""
    sound: bool = False
    said: str = ""
    remarks: str = ""


def start_of_reply(
    said: Generation, text: str, options: Settled, mode: Mode, *, correct: bool | None
) -> Start:
    """Where to begin by the reply to the locate prompt; ``correct`` is what is known of the prediction.

    Raises ``AnnotationFailed``: ``unparseable``, ``truncated_critique``, or ``locate_disagrees`` where the reply
    finds nothing wrong in a solution that is. The released code then rewrites the last line (papers.md 3.1).
    """
    steps = split_steps(text, options.step_split)
    reply = Reply(said.text, said.finish is FinishReason.LENGTH, len(steps))
    if mode is Mode.COMPAT:
        return _released_start(reply, text, options, correct=correct)
    found = read_label(reply, base=options.label_base)
    if found.finding is Finding.CORRECT and correct is False:
        raise AnnotationFailed(
            FailureKind.LOCATE_DISAGREES,
            "the answer of the prediction is wrong, but no step of it was found wrong",
            critique=said.text,
        )
    if found.finding is Finding.CORRECT:
        return Start(sound=True, said=said.text)
    if found.step is None:
        cut = found.finding is Finding.CUT
        kind = FailureKind.TRUNCATED_CRITIQUE if cut else FailureKind.UNPARSEABLE
        raise AnnotationFailed(kind, found.detail, critique=said.text)
    kept = text[: steps[found.step].start]
    return Start(found.step, kept, kept if options.prefill_before_error else "", said=said.text)


def start_of_faults(faults: Sequence[MarkedSpan], text: str, options: Settled, critique: str) -> Start:
    """Where to begin by the remarks of the critic: at the step with the first fault."""
    first = faults[0].span if faults else None
    steps = split_steps(text, options.step_split)
    step = None if first is None else step_at(steps, first.start)
    if step is None:
        return Start(sound=True, said=critique)
    kept = text[: steps[step].start]
    return Start(
        step, kept, kept if options.prefill_before_error else "", said=critique, remarks=told(faults)
    )


def _released_start(reply: Reply, text: str, options: Settled, *, correct: bool | None) -> Start:
    step = released_label(reply.text)
    if step == RELEASED_CORRECT and correct is not False:
        return Start(sound=True, said=reply.text)
    if step >= reply.steps:
        detail = f"the reply names step {step}, but there are {reply.steps}: the released code writes nothing"
        raise AnnotationFailed(FailureKind.UNPARSEABLE, detail, critique=reply.text)
    prefix = released_prefix(text, step) if options.prefill_before_error else ""
    steps = split_steps(text, options.step_split)
    return Start(
        None if step == RELEASED_CORRECT else step, text[: steps[step].start], prefix, said=reply.text
    )
