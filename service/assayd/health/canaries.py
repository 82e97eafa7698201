"""The answers that hosted models once gave to their canary, and how today's differ from them.

They are kept by the name of a model and the numbers that it computes in, not by its revision: weights that were
swapped under a name are what they are for.
"""

import json
import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final

import msgspec

from ..alone import alone_with
from ..domain.provenance import ModelRef
from ..engines import POCKET_CANARIES
from .questions import Answer

FORMAT: Final = "assay-canaries/1"
TOLERANCE: Final = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1}
"""By how much an answer may differ, times the expected number where that is above 1: rounding, and no more."""
LOOSE: Final = 1e-1
"""The same for numbers of a server that does not say what it computes in."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a model answered, by what it was asked to do, and the revision that it had then."""

    revision: str
    answers: dict[str, Answer]


@dataclass(frozen=True, slots=True)
class _File:
    format: str = FORMAT
    models: dict[str, Known] = field(default_factory=dict)


class Canaries:
    """Stored answers: those in ``path``, and behind them the ones of the embedded models.

    Without a path they are remembered as long as the process lives. Raises ``ValueError`` for a file that cannot be
    read as such.
    """

    def __init__(self, path: Path | None) -> None:
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"health.canaries is {path}, but there is no folder {path.parent}: make it")
        self._path = path
        self._lock = Lock()
        self._shipped = _read(POCKET_CANARIES)
        self._own: dict[str, Known] = {} if path is None else _read(path)

    def known(self, model: ModelRef) -> Known | None:
        """What is stored of a model, None where it was never asked."""
        key = _key(model)
        return self._own.get(key) or self._shipped.get(key)

    def remember(self, model: ModelRef, answers: Mapping[str, Answer]) -> None:
        """Store answers in the place of those that were. Raises ``OSError`` where the file cannot be written."""
        with self._lock, nullcontext() if self._path is None else alone_with(self._path):
            # Another service may share the file.
            stored = self._own if self._path is None else _read(self._path)
            before = stored.get(_key(model)) or self.known(model)
            merged = {} if before is None else dict(before.answers)
            self._own = {**stored, _key(model): Known(model.revision, merged | dict(answers))}
            if self._path is not None:
                _write(self._path, self._own)


def difference(model: ModelRef, known: Known, seen: Mapping[str, Answer]) -> str | None:
    """What a person is told of answers that are not the stored ones; None where they are, within rounding."""
    for verb, answer in seen.items():
        expected = known.answers.get(verb)
        complaint = None if expected is None else _unlike(model, expected, answer)
        if complaint is not None:
            moved = known.revision != model.revision
            was = f", revision {model.revision}, once {known.revision}" if moved else ""
            return f"{model.name} ({verb}{was}): {complaint}"
    return None


def _unlike(model: ModelRef, expected: Answer, seen: Answer) -> str | None:
    if expected.rendered != seen.rendered:
        ids = f"expected {expected.rendered}, seen {seen.rendered}"
        return f"the prompt is written otherwise (template, tokenizer): {ids}"
    if len(expected.numbers) != len(seen.numbers):
        return f"expected {len(expected.numbers)} numbers, seen {len(seen.numbers)}"
    numbers = _numbers(model)
    tolerance = TOLERANCE.get(numbers, LOOSE)
    for one, other in zip(expected.numbers, seen.numbers, strict=True):
        if abs(one - other) > tolerance * max(1.0, abs(one)):
            return f"expected {one:.6g}, seen {other:.6g} (weights, activation), beyond {tolerance:g}"
    told = (expected.text, seen.text) if numbers == "float32" else (_opening(expected), _opening(seen))
    return None if told[0] == told[1] else f"expected the text {told[0]!r}, seen {told[1]!r}"


def _opening(answer: Answer) -> str | None:
    """The first word: of two that are nearly as likely, coarse numbers take the one or the other."""
    words = (answer.text or "").split()
    return words[0] if words else None


def _key(model: ModelRef) -> str:
    """How a model is called, and in which numbers it computes, whatever its determinism."""
    return " ".join((model.name, *(model.engine or "").split()[:2]))


def _numbers(model: ModelRef) -> str:
    return next(iter((model.engine or "").split()[1:2]), "")


def _read(path: Path) -> dict[str, Known]:
    if not path.exists():
        return {}
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except (OSError, msgspec.DecodeError) as error:
        raise ValueError(f"{path} holds no stored canaries: {error}") from error
    if file.format != FORMAT:
        raise ValueError(f"{path} has the format {file.format!r}: this service reads {FORMAT}")
    return file.models


def _write(path: Path, models: Mapping[str, Known]) -> None:
    written = json.dumps(asdict(_File(models=dict(sorted(models.items())))), indent=1) + "\n"
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(written, encoding="utf-8")
    beside.replace(path)
