"""From a row of a data set to a rollout on the wire: which column is what."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from .stopping import Stopped

USUAL: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("id", "uid"),
    "prompt": ("prompt", "messages", "question"),
    "completion": ("completion", "response"),
    "token_ids": ("token_ids", "completion_ids", "response_ids"),
    "offsets": ("offsets",),
    "truncated": ("truncated",),
    "extrinsic_reward": ("extrinsic_reward", "reward", "score"),
    "reference": ("reference", "ground_truth", "reward_model.ground_truth"),
    "correct": ("correct", "is_correct"),
    "mask": ("mask", "completion_mask", "response_mask"),
    "entropies": ("entropies",),
    "value": ("value",),
    "group": ("group",),
}
"""What is looked for where nothing is named: the first column that is there and not null. A dot goes into a struct."""

_OF_COMPLETION: Final = ("token_ids", "offsets", "truncated")
_OF_ROLLOUT: Final = ("extrinsic_reward", "reference", "correct", "mask", "entropies", "value", "group")
_NUMBERS: Final = ("extrinsic_reward", "value")
_NOTHING: Final = object()


class Unreadable(Exception):
    """A row that does not say what to judge."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds what; ``named`` wins over the usual names, and a name mapped to "" is left alone."""

    named: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, written: Sequence[str]) -> "Columns":
        """From ``reference=answer`` and the like; raises ``Stopped`` for what is no such thing."""
        named = {}
        for one in written:
            name, separator, column = one.partition("=")
            if not separator or name not in USUAL:
                raise Stopped(f"--column {one}: write NAME=COLUMN, where NAME is one of {', '.join(USUAL)}")
            named[name] = column
        return cls(named)

    def check(self, columns: Sequence[str]) -> None:
        """Raise ``Stopped`` where a column was named that the data set does not have."""
        for name, column in self.named.items():
            if column and column not in columns and column.partition(".")[0] not in columns:
                raise Stopped(
                    f"--column {name}={column}: there is none; the columns are {', '.join(columns)}"
                )

    def rollout(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row as a rollout of the wire, without an id. Raises ``Unreadable``."""
        try:
            rollout = self._rollout(row)
            msgspec.json.encode(rollout)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise Unreadable(f"it is of no known shape ({error})") from error
        if not all(map(_is_finite, rollout.values())):
            raise Unreadable("a number is NaN or infinite")
        return rollout

    def _rollout(self, row: Mapping[str, Any]) -> dict[str, Any]:
        prompt, completion = self._texts(row)
        whole = {"text": completion} if isinstance(completion, str) else dict(completion)
        for name in _OF_COMPLETION:
            value = self.find(row, name)
            if value is not None:
                whole.setdefault(name, value)
        rollout = {"prompt": prompt, "completion": whole}
        for name in _OF_ROLLOUT:
            value = self.find(row, name)
            if value is not None:
                rollout[name] = float(value) if name in _NUMBERS and isinstance(value, bool) else value
        return rollout

    def find(self, row: Mapping[str, Any], name: str) -> Any:
        """What the row holds under ``name`` of the wire; None where it holds nothing."""
        named = self.named.get(name)
        paths = USUAL[name] if named is None else (named,) if named else ()
        return next((value for path in paths if (value := _at(row, path)) is not None), None)

    def _texts(self, row: Mapping[str, Any]) -> tuple[Any, str | Mapping[str, Any]]:
        prompt, completion = self.find(row, "prompt"), self.find(row, "completion")
        if prompt is not None and not isinstance(prompt, str):
            prompt = [_turn(message) for message in prompt]
        if completion is None and self.find(row, "token_ids") is not None:
            return prompt or "", {}
        if completion is None and isinstance(prompt, list) and prompt and prompt[-1]["role"] == "assistant":
            return prompt[:-1], prompt[-1]["content"]
        if completion is None:
            raise Unreadable("there is no completion: name its column with --column completion=COLUMN")
        return prompt or "", _completion(completion)


def _is_finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _completion(value: Any) -> str | Mapping[str, Any]:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {name: part for name, part in value.items() if part is not None}
    if isinstance(value, Sequence) and len(value) == 1:
        turn = _turn(value[0])
        if turn["role"] == "assistant":
            return str(turn["content"])
    raise Unreadable(
        "the completion is neither a text, nor text with token_ids, nor one turn of the assistant"
    )


def _turn(message: Any) -> dict[str, str]:
    if isinstance(message, Mapping) and all(
        isinstance(message.get(name), str) for name in ("role", "content")
    ):
        return {"role": message["role"], "content": message["content"]}
    raise Unreadable("a turn of the prompt is not {role, content} in texts")


def _at(row: Mapping[str, Any], path: str) -> Any:
    """The value of a column, or of a field of a struct where no column has that very name."""
    value: Any = row.get(path, _NOTHING)
    if value is not _NOTHING:
        return value
    value = row
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
