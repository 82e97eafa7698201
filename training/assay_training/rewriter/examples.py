"""Rows as the trainer takes them: ids of what is asked and answered, and where the answer begins."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from ..finetuning.rendering import PromptRenderer
from .asking import Asking, Task
from .rows import Row


@dataclass(frozen=True, slots=True)
class Example:
    """One exercise: ``ids`` of the prompt and of the answer with its end marker, which begins at ``start``.

    ``problem`` is the same for rows of one question.
    """

    task: Task
    ids: NDArray[np.int32]
    start: int
    problem: str


@dataclass(frozen=True, slots=True)
class Examples:
    """What became of some rows: the examples, and why other exercises were dropped."""

    kept: list[Example]
    dropped: Counter[str]


def make_examples(
    rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, asking: Asking, max_length: int
) -> Examples:
    """Two exercises a row; those of more than ``max_length`` tokens are dropped and counted, never cut."""
    asked = [(row, *exercise) for row in rows for exercise in asking.exercises(row)]
    prompts = renderer(tokenizer).prompts([messages for _, _, messages, _ in asked])
    answers = answer_ids(tokenizer, [answer for *_, answer in asked])
    kept: list[Example] = []
    dropped: Counter[str] = Counter()
    for (row, task, *_), prompt_ids, ids in zip(asked, prompts, answers, strict=True):
        if len(prompt_ids) + len(ids) > max_length:
            dropped[f"{task} too_long"] += 1
            continue
        joined = np.array([*prompt_ids, *ids], np.int32)
        kept.append(Example(task, joined, len(prompt_ids), problem_of(row)))
    return Examples(kept, dropped)


def renderer(tokenizer: PreTrainedTokenizerBase) -> PromptRenderer:
    """Writes prompts as the service does, whole."""
    return PromptRenderer(tokenizer, max_prompt_length=10**9)


def answer_ids(tokenizer: PreTrainedTokenizerBase, answers: Sequence[str]) -> list[list[int]]:
    """The ids of answers with the end marker behind; special tokens spelled in them are text."""
    encoded: Any = tokenizer(
        list(answers), add_special_tokens=False, split_special_tokens=True, return_attention_mask=False
    )
    end = tokenizer.eos_token_id
    return [[*ids, *([] if end is None else [end])] for ids in encoded["input_ids"]]


def problem_of(row: Row) -> str:
    """The digest of the question."""
    return hashlib.sha256(row.question.encode()).hexdigest()
