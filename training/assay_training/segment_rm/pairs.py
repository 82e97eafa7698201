"""Preference pairs: two completions of one prompt, of which one is preferred."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from assayd.domain.rollout import Message, Role
from assayd.domain.text import refuse_surrogates

from ..finetuning.jsonl import digest_of_rows, numbered_lines

LINES: Final = {".jsonl", ".ndjson"}
BUILDERS: Final = {".parquet": "parquet", ".csv": "csv", ".arrow": "arrow", ".json": "json"}


@dataclass(frozen=True, slots=True)
class Pair:
    """One prompt, the completion that was preferred, and the one that was not."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str


def read_pairs(source: str | Path) -> list[Pair]:
    """Pairs from a JSONL file, or from the ``train`` split of whatever ``datasets.load_dataset`` takes.

    A row is ``{"prompt": text or messages, "chosen": text, "rejected": text}``, or has ``chosen`` and ``rejected`` as
    lists of messages that end with the assistant's. Raises ``ValueError`` with file and line for a bad row.
    """
    path = Path(source)
    if path.suffix in LINES and path.is_file():
        return [_pair(_parsed(line, where), where) for where, line in numbered_lines(path)]
    rows = _loaded(source, path)
    return [_pair(row, f"{source}, row {index}") for index, row in enumerate(rows)]


def digest_of(pairs: Iterable[Pair]) -> str:
    """``sha256:`` and the hex digest of the pairs in their order, whatever file format they came in."""
    return digest_of_rows(
        [[[turn.role, turn.content] for turn in pair.prompt], pair.chosen, pair.rejected] for pair in pairs
    )


def _parsed(line: str, where: str) -> object:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON: {error}") from error


def _loaded(source: str | Path, path: Path) -> Iterable[object]:
    import datasets  # seconds to import, and not needed for a file of lines

    if path.is_file():
        if path.suffix not in BUILDERS:
            raise ValueError(f"{path}: cannot tell its format; name it {', '.join([*LINES, *BUILDERS])}")
        arguments: dict[str, Any] = {"path": BUILDERS[path.suffix], "data_files": str(path)}
    elif (path / "state.json").is_file():
        return cast(Iterable[object], datasets.load_from_disk(str(path)))
    else:
        arguments = {"path": str(source)}
    try:
        return cast(Iterable[object], datasets.load_dataset(**arguments, split="train"))
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot load pairs from {source}: {error}") from error


def _pair(row: object, where: str) -> Pair:
    try:
        if not isinstance(row, Mapping):
            raise ValueError("a pair is an object with chosen and rejected")
        prompt, chosen = _side(row, "chosen")
        other, rejected = _side(row, "rejected")
        if prompt != other:
            raise ValueError("chosen and rejected answer different prompts")
        for text in (chosen, rejected, *(message.content for message in prompt)):
            refuse_surrogates(text)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return Pair(prompt, chosen, rejected)


def _side(row: Mapping[str, object], name: str) -> tuple[tuple[Message, ...], str]:
    """Prompt and completion of one side of a row."""
    said = row.get(name)
    if isinstance(said, str):
        return _prompt(row.get("prompt")), said
    if not isinstance(said, Sequence) or not said:
        raise ValueError(f"{name} must be a text or a list of messages")
    turns = tuple(_message(turn, name) for turn in said)
    if turns[-1].role is not Role.ASSISTANT:
        raise ValueError(f"{name} must end with a message of the assistant")
    # A list of the answer alone needs its prompt; a longer one is the whole conversation.
    before = turns[:-1] or _prompt(row.get("prompt"))
    return before, turns[-1].content


def _prompt(prompt: object) -> tuple[Message, ...]:
    if isinstance(prompt, str):
        return (Message(Role.USER, prompt),)
    if not isinstance(prompt, Sequence):
        raise ValueError("prompt must be a text or a list of messages")
    return tuple(_message(turn, "prompt") for turn in prompt)


def _message(turn: object, name: str) -> Message:
    if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), str):
        raise ValueError(f"{name} holds something that is no message with role and content")
    try:
        return Message(Role(str(turn.get("role"))), turn["content"])
    except ValueError:
        raise ValueError(
            f"{name} has a message of the role {turn.get('role')!r}: use {', '.join(Role)}"
        ) from None
