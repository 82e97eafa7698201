"""What a value head is trained on: prompts, and the rewards of what the reference policy itself wrote at them."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from assayd.domain.rollout import Message, Role
from assayd.domain.text import refuse_surrogates

from ..finetuning.jsonl import digest_of_rows, numbered_lines


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt, and the reward of one completion of the reference policy; None where that is yet to be written."""

    prompt: tuple[Message, ...]
    reward: float | None


def read_rows(path: str | Path) -> list[Row]:
    """Rows from a JSONL file of ``prompt`` (a text or messages) and, in all rows or in none, ``reward``.

    Raises ``ValueError`` with file and line for a bad row, ``OSError`` where there is no such file.
    """
    rows = [_row(line, where) for where, line in numbered_lines(Path(path))]
    if not rows:
        raise ValueError(f"{path} has no rows")
    if len({row.reward is None for row in rows}) > 1:
        raise ValueError(f"{path}: some rows have a reward and some have none")
    return rows


def digest_of(rows: Iterable[Row]) -> str:
    """``sha256:`` and the hex digest of the rows in their order."""
    return digest_of_rows([[[turn.role, turn.content] for turn in row.prompt], row.reward] for row in rows)


def split(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row], list[Row]]:
    """Rows to train on, to choose the best epoch by, and to measure it on: rows of one prompt stay together.

    ``share`` of the prompts is kept out of the training, one half for each purpose, one prompt at least.
    """
    prompts = list(dict.fromkeys(row.prompt for row in rows))
    Random(seed).shuffle(prompts)
    half = max(1, round(share * len(prompts) / 2))
    if len(prompts) < 2 * half + 1:
        raise ValueError(
            f"{len(prompts)} prompts are too few to train on some and hold {share:g} of them out, one half to choose "
            "the best epoch and one to measure it"
        )
    choosing, measuring = set(prompts[:half]), set(prompts[half : 2 * half])
    kept = [row for row in rows if row.prompt not in choosing and row.prompt not in measuring]
    return (
        kept,
        [row for row in rows if row.prompt in choosing],
        [row for row in rows if row.prompt in measuring],
    )


def _row(line: str, where: str) -> Row:
    try:
        values = json.loads(line)
        if not isinstance(values, Mapping):
            raise ValueError("a row is an object with prompt and reward")
        return Row(_prompt(values.get("prompt")), _reward(values.get("reward")))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error


def _prompt(value: object) -> tuple[Message, ...]:
    turns = [{"role": "user", "content": value}] if isinstance(value, str) else value
    if not isinstance(turns, list) or not turns:
        raise ValueError("prompt must be a text, or messages of role and content")
    messages = tuple(Message(Role(turn["role"]), turn["content"]) for turn in turns)
    for message in messages:
        if not isinstance(message.content, str):
            raise ValueError("the content of a message is a text")
        refuse_surrogates(message.content)
    return messages


def _reward(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"reward must be a finite number, not {value!r}")
    return float(value)
