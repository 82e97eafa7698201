"""Teaches a tiny language model replies by heart, so that its greedy choices have margins that no rounding crosses."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from assayd.engines.prompts import encode

from .models import shape

EPOCHS: Final = 50
BATCH: Final = 8
RATE: Final = 6e-3
STARTS: Final = 4


def learned(tokenizer: PreTrainedTokenizerFast, lessons: Sequence[tuple[Any, str]]) -> LlamaForCausalLM:
    """A model that says each reply behind its prompt; what has several replies comes to be said as often.

    Now and then a start ends in saying the same to everything: another one is made then.
    """
    rows = []
    for messages, reply in lessons:
        prompt, said = encode(tokenizer, messages), tokenizer(reply, add_special_tokens=False)["input_ids"]
        rows.append(Row([*prompt, *said, tokenizer.eos_token_id], len(prompt)))
    likeliest = {tuple(row.ids[: row.start]): row for row in reversed(rows)}.values()
    for seed in range(STARTS):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(LlamaConfig(**shape(tokenizer)))
        _teach(model, rows, random.Random(seed))
        if all(_says(model, row) for row in likeliest):
            return model
    raise AssertionError("the model does not learn its lessons: are two prompts alike?")


@dataclass(frozen=True)
class Row:
    """A prompt and, from ``start`` on, its reply."""

    ids: list[int]
    start: int


def _teach(model: LlamaForCausalLM, rows: list[Row], dice: random.Random) -> None:
    order, batches = list(rows), range(0, len(rows), BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * len(batches))
    for _ in range(EPOCHS):
        dice.shuffle(order)
        for start in batches:
            logits, ids = _replies(model, order[start : start + BATCH])
            cross_entropy(logits, ids).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()


def _says(model: LlamaForCausalLM, row: Row) -> bool:
    with torch.no_grad():
        logits, ids = _replies(model, [row])
    return bool((logits.argmax(-1) == ids).all())


def _replies(model: LlamaForCausalLM, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits before each token of the replies, and the tokens."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.tensor([[*row.ids, *[0] * (longest - len(row.ids))] for row in rows])
    places = [(index, place) for index, row in enumerate(rows) for place in range(row.start, len(row.ids))]
    row, place = torch.tensor(places).T
    hidden = model.model(input_ids=ids).last_hidden_state[row, place - 1]
    return model.lm_head(hidden), ids[row, place]
