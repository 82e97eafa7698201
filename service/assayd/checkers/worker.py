"""The process in which math-verify works: a question per line in, a verdict per line out.

It says ``"ready"`` first. ``mathematics`` kills it when it takes too long; it may not take all memory before that.
"""

import json
import resource
import sys
from typing import Any, Final, TextIO

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify  # type: ignore[import-untyped]

MEMORY_BYTES: Final = 4 << 30
_EXTRACTION: Final = (LatexExtractionConfig(), ExprExtractionConfig())
_LIMIT_S: Final = 2


def verdict(gold: str, text: str, tolerance: float) -> str:
    """``right``, ``wrong``, or ``unreadable`` where ``gold`` is no mathematics.

    The whole answer is read as one formula: of "18 or 72" no part counts.
    """
    known = _parsed(gold)
    if not known:
        return "unreadable"
    given = _parsed(text)
    if verify(known, given, timeout_seconds=_LIMIT_S) or _close(known, given, tolerance):
        return "right"
    return "wrong"


def serve(questions: TextIO, answers: TextIO) -> None:
    """Answer until the questions end."""
    print(json.dumps("ready"), file=answers, flush=True)
    for line in questions:
        asked = json.loads(line)
        print(json.dumps(verdict(**asked)), file=answers, flush=True)


def _parsed(answer: str) -> list[Any]:
    formula = f"${answer.replace('$', '')}$"
    found: list[Any] = parse(
        formula, extraction_config=_EXTRACTION, fallback_mode="no_fallback", parsing_timeout=_LIMIT_S
    )
    return found


def _close(known: list[Any], given: list[Any], tolerance: float) -> bool:
    try:
        return bool(known and given) and abs(float(known[0]) - float(given[0])) <= tolerance
    except (TypeError, ValueError, OverflowError, AttributeError):
        return False


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    serve(sys.stdin, sys.stdout)
