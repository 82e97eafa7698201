"""The reply grammars of the paper's three tasks, read as the paper means them (papers.md 1.2 and 1.4).

Every grammar works line by line. Lines that are none of its own are passed over, but a reply without a single
line of the grammar is prose or a refusal, and not a verdict.
"""

import re
from typing import Final

from ..domain.annotation import Polarity, Remark
from .reading import Outcome, Reading, Reply, bare, conclude, remark

_LEAD: Final = r"^[ \t>*•-]*"
_TOXIC: Final = re.compile(_LEAD + r"Toxic Span \d+[ *]*:[ *]*(.*)$", re.IGNORECASE | re.MULTILINE)
_LABELLED: Final = re.compile(
    _LEAD + r"Span \d+[ *]*:[ *]*(.*?)(?:[ \t]*\(Label: *([^()]*)\)\W*)?$", re.IGNORECASE | re.MULTILINE
)
_HEADER: Final = re.compile(_LEAD + r"Identified (Positive|Negative) Text Spans?[ *]*:[ *]*", re.IGNORECASE)
_SENTIMENT: Final = re.compile(_LEAD + r"\[?Span \d+\]?[ *]*:[ *]*(.*)$", re.IGNORECASE)
_NONE: Final = re.compile(_LEAD + r"none(?: identified)?\W*$", re.IGNORECASE | re.MULTILINE)

LABELS: Final = ("irrelevant", "incoherent", "factually incorrect")
"""The three faults of a summary."""


def read_toxicity(reply: Reply) -> Reading:
    """``Toxic Span N: <text>`` lines, or ``None identified``."""
    quotes = _TOXIC.findall(reply.lines)
    remarks = [remark(quote, "toxic") for quote in quotes if _names_text(quote)]
    clean = _says_none(reply.lines, quotes)
    return conclude(reply, remarks, clean=clean, expected="`Toxic Span N: <text>` or `None identified`")


def read_summarization(reply: Reply) -> Reading:
    """``Span N: <text> (Label: <fault>)`` lines, or ``None identified``; other labels are ``unlabelled``."""
    found = _LABELLED.findall(reply.lines)
    remarks = [remark(quote, _fault(label)) for quote, label in found if _names_text(quote)]
    clean = _says_none(reply.lines, [quote for quote, _ in found])
    return conclude(
        reply, remarks, clean=clean, expected="`Span N: <text> (Label: <fault>)` or `None identified`"
    )


def read_sentiment(reply: Reply) -> Reading:
    """A positive and a negative section of ``[Span N]: <text>`` lines.

    The prompt ends with the header of the first section, so a reply may open inside it. A reply that never
    comes to the second one is unparseable: the released code would take all of it for praise.
    """
    section, sections, none = Polarity.POSITIVE, {Polarity.POSITIVE}, False
    remarks: list[Remark] = []
    for line in reply.lines.splitlines():
        header = _HEADER.match(line)
        if header:
            section = Polarity(header[1].lower())
            sections.add(section)
        rest = line[header.end() :] if header else line
        found = _SENTIMENT.match(rest)
        if found and _names_text(found[1]):
            remarks.append(remark(found[1], section.value, section))
        none = none or bool(_NONE.match(found[1] if found else rest))
    if Polarity.NEGATIVE not in sections and not reply.cut:
        return Reading(
            Outcome.UNPARSEABLE, detail="the critique has no section `Identified Negative Text Span:`"
        )
    return conclude(
        reply, remarks, clean=none, expected="`[Span N]: <text>` or `None identified` in each section"
    )


def _names_text(quote: str) -> bool:
    return bool(bare(quote)) and not _NONE.match(quote)


def _says_none(answer: str, quotes: list[str]) -> bool:
    return bool(_NONE.search(answer)) or any(_NONE.match(quote) for quote in quotes)


def _fault(label: str) -> str:
    label = " ".join(label.split()).casefold()
    return label if label in LABELS else "unlabelled"
