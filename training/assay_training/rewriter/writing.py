"""Greedy answers of a language model, straight from transformers, for figures; the service has its own engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assayd.domain.rollout import Message

from ..finetuning.batching import TOKENS_AT_ONCE, batches_by_length
from .examples import renderer


@dataclass(frozen=True, slots=True)
class Written:
    """An answer; ``cut``: it came to no end."""

    text: str
    cut: bool


@torch.inference_mode()
def write(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[tuple[Message, ...]],
    longest: Sequence[int],
) -> list[Written]:
    """The answer to each prompt, in order; ``longest`` bounds each one's tokens."""
    if not prompts:
        return []
    model.train(mode=False)
    encoded = renderer(tokenizer).prompts(prompts)
    answers = [Written("", cut=True)] * len(prompts)
    lengths = [len(ids) + most for ids, most in zip(encoded, longest, strict=True)]
    for batch in batches_by_length(lengths, TOKENS_AT_ONCE):
        outputs = _greedy(model, tokenizer, [encoded[at] for at in batch], max(longest[at] for at in batch))
        for at, ids in zip(batch, outputs, strict=True):
            answers[at] = _answer(tokenizer, ids[: longest[at]])
    return answers


def _greedy(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]], longest: int
) -> list[list[int]]:
    width = max(map(len, prompts))
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    ids_bt = torch.tensor([[pad] * (width - len(ids)) + ids for ids in prompts])
    mask_bt = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts])
    settings: dict[str, Any] = {
        "max_new_tokens": longest,
        "do_sample": False,
        "temperature": None,
        "top_p": None,
        "top_k": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": pad,
    }
    output_bt = model.generate(  # type: ignore[operator]
        ids_bt.to(model.device), attention_mask=mask_bt.to(model.device), **settings
    )
    new: list[list[int]] = [row[width:].tolist() for row in output_bt]
    return new


def _answer(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> Written:
    end = tokenizer.eos_token_id
    cut = end not in ids
    spoken = ids if cut else ids[: ids.index(end)]
    return Written(str(tokenizer.decode(spoken, clean_up_tokenization_spaces=False)), cut)
