"""Verified corrections: a question, its reference solution, what was answered, and that answer corrected."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

from assayd.annotators.rewriting.lines import split_steps
from assayd.domain.text import refuse_surrogates

from ..finetuning.jsonl import digest_of_rows, numbered_lines

TEXTS = ("question", "reference", "prediction", "correction")
SEPARATOR = "\n"
"""What stands between the steps of a solution."""
END_OF_REASONING = "</think>"
"""The service reads what a rewriter says behind it."""


@dataclass(frozen=True, slots=True)
class Row:
    """``error_step`` is the first wrong line of the prediction, counted from 0 and blank lines included.

    It is None for a right prediction, which is its own correction. ``reasoning``, which may be empty, is what the
    rewriter is to think before it names that line.
    """

    question: str
    reference: str
    prediction: str
    correction: str
    error_step: int | None
    reasoning: str = ""

    def __post_init__(self) -> None:
        if self.error_step is None:
            if self.correction != self.prediction:
                raise ValueError("error_step is null, so the correction has to be the prediction itself")
            return
        if self.correction == self.prediction:
            raise ValueError(
                "the correction of a wrong prediction has to differ from it: null error_step to copy"
            )
        if not 0 <= self.error_step < len(split_steps(self.prediction, SEPARATOR)):
            raise ValueError(f"the prediction has no line {self.error_step}, counted from 0")
        if not self.correction.startswith(kept_before(self.prediction, self.error_step)):
            raise ValueError("the correction changes what stands before the error step")


def kept_before(prediction: str, step: int) -> str:
    """What stands before a line of a prediction, its line break included."""
    return "".join(span.of(prediction) for span in split_steps(prediction, SEPARATOR)[:step])


def read_rows(path: str | Path) -> list[Row]:
    """Rows from a JSONL file of `question`, `reference`, `prediction`, `correction`, `error_step`, maybe `reasoning`.

    Raises ``ValueError`` with file and line for a bad row, ``OSError`` where there is no such file.
    """
    return [_row(line, where) for where, line in numbered_lines(Path(path))]


def digest_of(rows: Iterable[Row]) -> str:
    """``sha256:`` and the hex digest of the rows in their order."""
    return digest_of_rows(map(astuple, rows))


def _row(line: str, where: str) -> Row:
    try:
        values = json.loads(line)
        if not isinstance(values, Mapping):
            raise ValueError(f"a row is an object with {', '.join((*TEXTS, 'error_step'))}")
        question, reference, prediction, correction = (_text(values, name) for name in TEXTS)
        return Row(question, reference, prediction, correction, _step(values), _reasoning(values))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _text(values: Mapping[str, object], name: str) -> str:
    text = values.get(name)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{name} must be a text that is not empty")
    refuse_surrogates(text)
    return text


def _step(values: Mapping[str, object]) -> int | None:
    step = values.get("error_step", -1)
    if step is None or (isinstance(step, int) and not isinstance(step, bool) and step >= 0):
        return step
    raise ValueError(
        "error_step must be the number of a line, counted from 0, or null where nothing is wrong"
    )


def _reasoning(values: Mapping[str, object]) -> str:
    reasoning = values.get("reasoning", "")
    if not isinstance(reasoning, str) or END_OF_REASONING in reasoning:
        raise ValueError(f"reasoning must be a text without {END_OF_REASONING}")
    refuse_surrogates(reasoning)
    return reasoning
