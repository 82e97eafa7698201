"""The ``remarks`` grammar, for any task: a JSON object whose ``remarks`` quote, label, weigh and explain."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from ..domain.annotation import Polarity, Remark
from ..domain.text import Span
from .reading import Outcome, Reading, Reply, bare

_DECODER: Final = json.JSONDecoder()
_FENCES: Final = re.compile(r"```(?:json)?", re.IGNORECASE)
_KEY: Final = re.compile(r'"remarks"\s*:')
_LIST: Final = re.compile(r'"remarks"\s*:\s*\[')
_REMARK: Final = {
    "type": "object",
    "properties": {
        "quote": {"type": "string"},
        "label": {"type": "string"},
        "severity": {"type": "number", "minimum": 0, "maximum": 1},
        "reason": {"type": "string"},
        "polarity": {"type": "string", "enum": list(Polarity)},
    },
    "required": ["quote", "label"],
    "additionalProperties": False,
}
SCHEMA: Final = json.dumps(
    {
        "type": "object",
        "properties": {"remarks": {"type": "array", "items": _REMARK}},
        "required": ["remarks"],
        "additionalProperties": False,
    },
    separators=(",", ":"),
)
"""The grammar as a JSON schema, its fields in the order of the prompt: some engines write them in no other.

No ``minLength``: under one, xgrammar lets a text hold no escape, so that no quote could hold a quote mark. No
``maxItems`` either: ``max_spans`` counts the remarks that were placed, not those that were written.
"""
_EXPECTED: Final = 'one JSON object {"remarks": [{"quote", "label", "severity", "reason"}]} and nothing else'


def read_remarks(reply: Reply) -> Reading:
    """The last complete object of the reply that follows the grammar; only code fences may stand around it.

    The last, because a model may repeat the example of its prompt before it answers. From a reply that was
    cut off, the complete remarks of the object it broke off in.
    """
    if reply.cut:
        return _read_cut(reply)
    objects = list(_objects(reply.spoken))
    around = "".join(_between(reply.spoken, [span for span, _ in objects]))
    verdicts = [remarks for _, value in objects if (remarks := _remarks_of(value)) is not None]
    if not verdicts or _FENCES.sub("", around).strip():
        return Reading(
            Outcome.UNPARSEABLE, detail=f"the critique does not follow its grammar: expected {_EXPECTED}"
        )
    return Reading(Outcome.MARKED if verdicts[-1] else Outcome.CLEAN, verdicts[-1])


def verdict_spans(text: str) -> tuple[Span, ...]:
    """Where a text holds, or begins, an object of this grammar."""
    whole = [span for span, value in _objects(text) if "remarks" in value]
    edges = [0, *(edge for span in whole for edge in (span.start, span.end)), len(text)]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    begun = (match.start() for start, end in gaps if (match := _KEY.search(text, start, end)))
    return tuple(sorted((*whole, *(Span(start, len(text)) for start in islice(begun, 1)))))


def _read_cut(reply: Reply) -> Reading:
    lists = list(_LIST.finditer(reply.spoken))
    found: list[Remark] = []
    for _, value in _objects(reply.spoken[lists[-1].end() :] if lists else ""):
        remark = _remark_of(value)
        if remark is not None:
            found.append(remark)
    if found:
        return Reading(Outcome.MARKED, tuple(found))
    return Reading(Outcome.CUT, detail="the critique was cut off before its first complete remark")


def _objects(text: str) -> Iterator[tuple[Span, dict[str, Any]]]:
    """The complete JSON objects of a text that lie in no other one."""
    at = text.find("{")
    while at >= 0:
        try:
            value, end = _DECODER.raw_decode(text, at)
        except json.JSONDecodeError as error:
            end = max(error.pos, at + 1)  # what was read is not read again: broken nests stay cheap
        except (ValueError, RecursionError):  # numbers and nests beyond what Python reads
            return
        else:
            yield Span(at, end), value
        at = text.find("{", end)


def _between(text: str, spans: list[Span]) -> Iterator[str]:
    start = 0
    for span in spans:
        yield text[start : span.start]
        start = span.end
    yield text[start:]


def _remarks_of(value: dict[str, Any]) -> tuple[Remark, ...] | None:
    listed = value.get("remarks")
    if not isinstance(listed, list):
        return None
    remarks = [_remark_of(item) for item in listed]
    return None if None in remarks else tuple(remark for remark in remarks if remark is not None)


def _remark_of(item: Any) -> Remark | None:
    """One remark, or None where the item breaks the grammar.

    ``quote`` and ``label`` are texts with content, ``severity`` is a number from 0 to 1 (1 when absent),
    ``reason`` is a text or absent, and ``polarity`` is negative when absent.
    """
    if not isinstance(item, dict):
        return None
    quote, label, reason = _text(item.get("quote")), _text(item.get("label")), item.get("reason")
    severity, polarity = item.get("severity", 1.0), item.get("polarity", Polarity.NEGATIVE)
    number = isinstance(severity, int | float) and not isinstance(severity, bool) and 0 <= severity <= 1
    if not (quote and label and number and isinstance(reason, str | None) and polarity in list(Polarity)):
        return None
    return Remark(quote, label, reason, severity=float(severity), polarity=Polarity(polarity))


def _text(value: Any) -> str:
    return bare(value) if isinstance(value, str) else ""
