"""The ``steps`` grammar: every line of a solution is re-derived and called correct or wrong.

The critic is shown the solution with its non-blank lines numbered by us, and answers line by line:

    [k] "<claim copied from the step>" | <its own re-derivation> | correct
"""

import re
from typing import Final

from ..domain.annotation import Polarity, Remark
from ..domain.text import Span
from .reading import Outcome, Reading, Reply, bare

CORRECT: Final = "correct"
WRONG: Final = "wrong"
FOLLOWS: Final = "follows"
"""The label of the steps that build on the first wrong one."""

_VERDICT: Final = re.compile(
    r"^[ \t>*-]*\[([0-9]{1,6})\][ \t]*(?P<claim>\"[^\n]*?\"|[^|\n]*?)[ \t]*\|"
    r"(?:(?P<derivation>[^\n]*)\|)?[ \t*]*(?P<verdict>correct|wrong|incorrect)[ \t*.]*$",
    re.IGNORECASE | re.MULTILINE,
)


def step_spans(text: str) -> tuple[Span, ...]:
    """The non-blank lines of a text, without what ends them."""
    spans, start = [], 0
    for line in text.splitlines(keepends=True):
        ended = line.splitlines()[0]
        if ended.strip():
            spans.append(Span(start, start + len(ended)))
        start += len(line)
    return tuple(spans)


def read_steps(reply: Reply) -> Reading:
    """A verdict for every step up to the first wrong one, in the order of the steps.

    Unparseable: a step that does not exist, verdicts that contradict each other, a reply that finds nothing
    wrong but leaves steps out. What a reply says after its first wrong step is not read.
    """
    verdicts: dict[int, Remark] = {}
    for match in _VERDICT.finditer(reply.lines):
        remark = _remark_of(match)
        known = verdicts.setdefault(int(match[1]), remark)
        if int(match[1]) >= reply.steps:
            return _broken(f"the critique judges step {match[1]} of {reply.steps}, counted from 0")
        if known.label != remark.label:
            return _broken(f"the critique calls step {match[1]} both correct and wrong")
    wrong = [step for step, remark in verdicts.items() if remark.label == WRONG]
    if not verdicts and not reply.cut:
        return _broken(
            'the critique does not follow its grammar: expected `[k] "<claim>" | <check> | <verdict>`'
        )
    missing = [str(step) for step in range(reply.steps) if step not in verdicts]
    if not wrong and missing:
        detail = f"the critique finds nothing wrong, but does not judge step {', '.join(missing)}"
        return Reading(Outcome.CUT, detail=detail) if reply.cut else _broken(detail)
    kept = [verdicts[step] for step in sorted(verdicts) if not wrong or step <= min(wrong)]
    return Reading(Outcome.MARKED if wrong else Outcome.CLEAN, tuple(kept))


def _remark_of(match: re.Match[str]) -> Remark:
    right = match["verdict"].lower() == CORRECT
    return Remark(
        quote=bare(match["claim"]),
        label=CORRECT if right else WRONG,
        reason=(match["derivation"] or "").strip() or None,
        step=int(match[1]),
        polarity=Polarity.POSITIVE if right else Polarity.NEGATIVE,
    )


def _broken(detail: str) -> Reading:
    return Reading(Outcome.UNPARSEABLE, detail=detail)
