"""The card of the embedded policy: what it is and cannot do, how it was made, how well it predicts held-out texts."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from .corpora.arithmetic import arithmetic_items
from .corpora.items import Domain, Item, Split
from .corpora.toxicity import toxicity_items
from .pocket_card import About, Making, size_of, write_card
from .pocket_pairs import HELD_OUT_SEED
from .pocket_policy import render_prompt
from .segment_figures import entropies

DOMAIN = (
    "Two tiny worlds of generated English: right solutions of grade-school arithmetic stories in lines with an "
    "equation each, and messages without insults. It says where a completion may be cut."
)
LIMITS = (
    "It predicts the text of these two worlds and of nothing else: on other text it is unsure nearly everywhere, so "
    "that segments become single tokens. Name a real model for real work.",
    "It was trained on right results alone. It is no judge: the segment model is.",
    "English only. It reads 2,048 tokens; a prompt is one line before `<|completion|>`.",
)
ABOUT = About("assay-pocket-entropy", "1", DOMAIN, LIMITS)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Over all tokens of some completions, and the share of results of equations whose every digit was likeliest."""

    tokens: int
    perplexity: float
    mean_entropy: float
    results_right: float | None


def write_policy_card(directory: Path, making: Making, *, items: int = 1000) -> None:
    """Measure the saved weights on held-out right completions of both domains, and write `card.json`."""
    model = LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32)
    model.train(mode=False)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    card = {
        **ABOUT.as_json(),
        **size_of(model),
        **making.as_json(),
        "measured": "right completions; entropies in nats; results_right: results of equations whose digits were all "
        "the likeliest tokens. Names, objects and templates of `held-out` were never trained on, those of `train` were",
        **{
            split.value: {
                domain.value: _rounded(predict(model, tokenizer, list(islice(_right(domain, split), items))))
                for domain in (Domain.ARITHMETIC, Domain.TOXICITY)
            }
            for split in (Split.HELD_OUT, Split.TRAIN)
        },
    }
    write_card(directory, card)


def _right(domain: Domain, split: Split) -> Iterator[Item]:
    if domain is Domain.ARITHMETIC:
        return arithmetic_items(HELD_OUT_SEED, split, right=1.0, jumbled=0.0)
    return (item for item in toxicity_items(HELD_OUT_SEED, split, jumbled=0.0) if not item.spans)


@torch.inference_mode()
def predict(model: LlamaForCausalLM, tokenizer: Tokenizer, items: Sequence[Item]) -> Prediction:
    """How well the model predicts the completions."""
    loss, entropy, tokens = 0.0, 0.0, 0
    results: list[bool] = []
    for item in items:
        head, tail = tokenizer.encode(render_prompt(item.prompt)).ids, tokenizer.encode(item.completion)
        logits_tv = model(torch.tensor([[*head, *tail.ids]])).logits[0, len(head) - 1 : -1]
        ids_t = torch.tensor(tail.ids)
        loss -= float(logits_tv.log_softmax(-1)[range(len(ids_t)), ids_t].sum())
        entropy += float(entropies(logits_tv).sum())
        tokens += len(ids_t)
        hits_t = (logits_tv.argmax(-1) == ids_t).tolist()
        results += _results(item.completion, tail.offsets, hits_t)
    right = sum(results) / len(results) if results else None
    return Prediction(tokens, math.exp(loss / tokens), entropy / tokens, right)


def _results(text: str, offsets: list[tuple[int, int]], hits_t: list[bool]) -> Iterator[bool]:
    for match in re.finditer(r"\d ?[-+*/] ?\d+ ?= ?(\d+)", text):
        yield all(
            hit
            for hit, (start, end) in zip(hits_t, offsets, strict=True)
            if match.start(1) < end and start < match.end(1)
        )


def _rounded(prediction: Prediction) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 4) for name, value in asdict(prediction).items()}
