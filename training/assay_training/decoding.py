"""Greedy replies of an embedded critic in batches, straight from the model, and the spans they mark.

For the training loop and its figures; the service has its own engine and parsers.
"""

import re
from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from .corpora.items import Domain, GoldSpan, Item, Label
from .pocket_prompt import END, PAD, render
from .pocket_tokenizer import token_id

_STEP = re.compile(r'\[(\d+)\] "(.*)" \| .* \| (correct|wrong)')
_HEADERS = {
    "Identified Positive Text Span:": Label.POSITIVE,
    "Identified Negative Text Span:": Label.NEGATIVE,
}


@torch.inference_mode()
def replies(
    model: LlamaForCausalLM,
    tokenizer: Tokenizer,
    items: Sequence[Item],
    *,
    max_tokens: int = 320,
    batch_size: int = 100,
) -> list[str]:
    """The greedy reply to each item, in order."""
    answers = [""] * len(items)
    encoded = [tokenizer.encode(render(item.domain, item.prompt, item.completion)).ids for item in items]
    order = sorted(range(len(items)), key=lambda index: len(encoded[index]))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        outputs = _greedy(model, tokenizer, [encoded[index] for index in chosen], max_tokens)
        for index, ids in zip(chosen, outputs, strict=True):
            answers[index] = tokenizer.decode(ids, skip_special_tokens=False)
    return answers


def _greedy(
    model: LlamaForCausalLM, tokenizer: Tokenizer, prompts: list[list[int]], max_tokens: int
) -> list[list[int]]:
    end, pad = token_id(tokenizer, END), token_id(tokenizer, PAD)
    longest = max(map(len, prompts))
    ids_bt = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask_bt = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    output_bt = model.generate(  # type: ignore[misc]
        ids_bt,
        attention_mask=mask_bt,
        max_new_tokens=max_tokens,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=pad,
    )
    new = [row[longest:].tolist() for row in output_bt]
    return [row[: row.index(end)] if end in row else row for row in new]


def spans_of(item: Item, reply: str) -> tuple[GoldSpan, ...]:
    """The spans of the completion that a reply marks; what cannot be found is left out."""
    if item.domain is Domain.ARITHMETIC:
        return _wrong_steps(item.completion, reply)
    found = []
    label: Label | None = Label.TOXIC if item.domain is Domain.TOXICITY else None
    for line in reply.split("\n"):
        label = _HEADERS.get(line, label)
        match = re.fullmatch(r"(?:\[Span \d+\]|Toxic Span \d+): (.+)", line)
        if match and label is not None:
            flat = item.completion.replace("\n", " ")
            place = re.search(rf"(?<!\w){re.escape(match[1])}(?!\w)", flat)
            if place:
                found.append(GoldSpan(place.start(), place.end(), label))
    return tuple(found)


def _wrong_steps(completion: str, reply: str) -> tuple[GoldSpan, ...]:
    starts, position = [], 0
    for line in completion.split("\n"):
        if line.strip():
            starts.append((position, line))
        position += len(line) + 1
    for text in reply.split("\n"):
        match = _STEP.fullmatch(text)
        if match and match[3] == "wrong" and int(match[1]) < len(starts):
            start, line = starts[int(match[1])]
            at = line.find(match[2])
            if at >= 0 and match[2]:
                return (GoldSpan(start + at, start + at + len(match[2]), Label.WRONG),)
    return ()
