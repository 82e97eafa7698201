"""How many problems of the examination a policy solves."""

from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .problems import answer, examination

LONGEST = 96
PER_BATCH = 200


@torch.inference_mode()
def accuracy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, greedy: bool) -> float:
    """The share of the problems whose final answer is right, by the likeliest tokens or by sampled ones.

    What is drawn at random is the same every time, and the training's own random numbers are left as they were.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _accuracy(model, tokenizer, greedy=greedy)


def _accuracy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, greedy: bool) -> float:
    rows = examination()
    was_training = model.training
    model.train(mode=False)
    right = 0
    for start in range(0, len(rows), PER_BATCH):
        batch = rows[start : start + PER_BATCH]
        solutions = _solve(model, tokenizer, [row["prompt"] for row in batch], greedy=greedy)
        right += sum(answer(text) == row["answer"] for text, row in zip(solutions, batch, strict=True))
    model.train(mode=was_training)
    return right / len(rows)


def _solve(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[Any], *, greedy: bool
) -> list[str]:
    shown = tokenizer.apply_chat_template(
        prompts, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    how = {"do_sample": False} if greedy else {"do_sample": True, "top_k": 0, "temperature": 1.0}
    ids_bt = model.generate(**shown, **how, max_new_tokens=LONGEST)
    return tokenizer.batch_decode(ids_bt[:, shown["input_ids"].size(1) :], skip_special_tokens=True)
