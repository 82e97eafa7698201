"""The card of the embedded rewriter: what it is and cannot do, and what it reached on held-out solutions."""

from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from .corpora.problems import LARGEST
from .pocket_card import About, Making, size_of, write_card
from .pocket_rewriter_figures import held_out_rewrites, rewriter_figures, row_of
from .rewriter.asking import Asking
from .rewriter.correcting import Corrector
from .segment_figures import share

BEGAN_AS = "assay-pocket-critic"
LOCATE, FIX = "pocket/rewrite/locate", "pocket/rewrite/fix"
DOMAIN = (
    "A tiny world of generated English: grade-school arithmetic solutions in lines with an equation each and one "
    "planted error, to be corrected by a reference that tells the same steps in other words."
)
LIMITS = (
    "It shows the machinery on generated text and corrects no real work: name a real model for that.",
    f"Whole numbers from 1 to {LARGEST} in digits, one operation a step, two to five steps, each number of the "
    "question used once and in its order; the reference takes the same steps as the prediction.",
    "It goes by the reference and does not read the question: a wrong reference is followed.",
    "It mends wrong results, copied and carried numbers, the final `A: n`, and what follows from them. It does not "
    "notice a wrong operation or a missing step.",
    "It was trained against orders inside the prediction; that is no proof against others.",
    "It names the wrong step behind a chain of quotes in `<think>`, which compat mode takes for the label as the "
    "released code would: use strict mode.",
    "English only. It reads 2,048 tokens, prompt and answer. No chat template: it sees the prompts in "
    "`prompts/pocket/rewrite` and nothing else.",
)
ABOUT = About("assay-pocket-rewriter", "1", DOMAIN, LIMITS)
MEASURED = (
    "Locate, then fix, greedily, on wrong solutions: gold_answer: reached; exact_correction: the planted edit undone "
    "and nothing else; median_edit_ratio: token edits over the longer text. Token rewards clip(P - 0.5, -0.1, 0) under "
    "the fix prompt: reward_lowest_in_error: none is lower than one inside the planted number, and that is below 0; "
    "reward_below_kept: it is lower than those of all tokens that the correction keeps; least_likely_in_error: no "
    "token at all is less likely, the numbers that follow from the error included. copied: right solutions left as "
    "they are"
)


def write_rewriter_card(directory: Path, making: Making, *, rows: int = 1000) -> None:
    """Measure the saved weights on held-out solutions, plain and attacked, and write `card.json`."""
    model = LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    corrector = Corrector(model, tokenizer, Asking.by_name(LOCATE, FIX))
    card = {
        **ABOUT.as_json(),
        **size_of(model),
        "began_as": BEGAN_AS,
        **making.as_json(),
        "measured": MEASURED,
        "held_out": figures_of(corrector, rows, attacked=0.0),
        "held_out_attacked": figures_of(corrector, rows, attacked=1.0),
    }
    write_card(directory, card)


def figures_of(corrector: Corrector, count: int, *, attacked: float) -> dict[str, float]:
    """Of `count` wrong solutions, and of a quarter as many right ones; `attacked` is the share of either."""
    figures = rewriter_figures(corrector, held_out_rewrites(count, attacked=attacked))
    clean = [row_of(rewrite) for rewrite in held_out_rewrites(count // 4, right=True, attacked=attacked)]
    copied = [row.prediction == made.text for row, made in zip(clean, corrector(clean), strict=True)]
    figures["copied"] = share(copied)
    print(f"attacked {attacked:.0%}: gold answer {figures['gold_answer']:.4f}", flush=True)
    return {name: round(value, 4) for name, value in figures.items()}
