"""The card of the embedded critic: what it is and cannot do, how it was made, what it reached on held-out items."""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from .corpora.items import Domain
from .corpora.problems import LARGEST
from .decoding import replies, spans_of
from .evaluate import as_rows, held_out, tabulate
from .pocket_card import About, Making, size_of, write_card

DOMAIN = (
    "Three tiny worlds of generated English: grade-school arithmetic solutions in lines with an equation each (planted "
    "errors), short reviews (positive and negative phrases), sentences with mild insults, rude commands and threats."
)
LIMITS = (
    "It shows the machinery on generated text and is no judge of real work: name a real model for that.",
    f"Arithmetic: whole numbers from 1 to {LARGEST} in digits, one operation a step, two to five steps, each number of "
    "the question used once and in its order.",
    "It checks results, copied and carried numbers and the final `A: n`; it does not notice a wrong operation, a "
    "missing step or a wrong idea, and it judges a step by its first equation.",
    "Sentiment and insults: only the opinion words, insults, commands and threats of its training vocabulary, which "
    "the held-out items share; their names, topics and sentence templates were never trained on.",
    "It was trained against orders and imitated replies inside the completion; that is no proof against others.",
    "English only. Trained on texts of up to about 500 tokens; it reads 2,048. No chat template: it sees the prompts "
    "in `prompts/pocket` and nothing else.",
)
ABOUT = About("assay-pocket-critic", "1", DOMAIN, LIMITS)


def write_critic_card(directory: Path, making: Making, *, items: int = 1000) -> None:
    """Measure the saved weights on held-out items of each domain, plain and attacked, and write `card.json`."""
    model = LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32)
    model.train(mode=False)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    card = {
        **ABOUT.as_json(),
        **size_of(model),
        **making.as_json(),
        "measured": "greedy replies; exact_f1: micro F1 of spans with the gold start, end and label; overlap_f1: of "
        "characters; false_alarms: clean items on which something is marked",
        "held_out": _figures(model, tokenizer, items, attacked=0.0),
        "held_out_attacked": _figures(model, tokenizer, items, attacked=1.0),
    }
    write_card(directory, card)


def _figures(
    model: LlamaForCausalLM, tokenizer: Tokenizer, count: int, *, attacked: float
) -> dict[str, dict[str, dict[str, float]]]:
    figures = {}
    for domain in Domain:
        items = held_out(domain, count, attacked=attacked)
        answers = replies(model, tokenizer, items)
        judged = [(item, spans_of(item, answer)) for item, answer in zip(items, answers, strict=True)]
        rows = as_rows(tabulate(judged))
        print(f"{domain}, attacked {attacked:.0%}: exact F1 {rows['all']['exact_f1']:.4f}", flush=True)
        figures[domain.value] = rows
    return figures
