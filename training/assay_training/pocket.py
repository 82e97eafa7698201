"""Make the embedded critic from nothing: corpora, tokenizer, model, training and its files, from one seed on a CPU."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from .mixture import FIRST, SECOND, Course, corpus_texts
from .pocket_card import Making
from .pocket_critic_card import write_critic_card
from .pocket_fit import Plan, fit
from .pocket_model import new_model, parameter_count
from .pocket_prompt import END, PAD
from .pocket_tokenizer import save_tokenizer, token_id, train_tokenizer

TOKENIZER_ITEMS_PER_DOMAIN = 4000


@dataclass(frozen=True, slots=True)
class Phase:
    """One course of the training and how it is paced; the name begins its stream of random numbers."""

    name: str
    course: Course
    steps: int
    peak_rate: float
    decay_share: float


PHASES = (
    Phase("", FIRST, steps=3000, peak_rate=3e-3, decay_share=0.6),
    Phase("second ", SECOND, steps=1200, peak_rate=2e-3, decay_share=0.9),
)


def train_pocket(
    out: Path,
    *,
    seed: int = 0,
    workers: int = 2,
    phases: tuple[Phase, ...] = PHASES,
    held_out_items: int = 1000,
) -> None:
    """Train the critic on the CPU, print the progress, and write weights (float16), tokenizer and card to `out`.

    The same seed and workers give the same weights on the same kind of machine. Each worker is a process of one thread
    with batches of its own; a step takes one batch of each. A phase begins from the weights that the one before saved.
    The card is measured on `held_out_items` a domain.
    """
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(corpus_texts(seed, TOKENIZER_ITEMS_PER_DOMAIN))
    save_tokenizer(tokenizer, out)
    ends = {"end": token_id(tokenizer, END), "pad": token_id(tokenizer, PAD)}
    model = new_model(tokenizer.get_vocab_size(), **ends)
    print(f"{parameter_count(model)} parameters, vocabulary {tokenizer.get_vocab_size()}", flush=True)
    started = time.monotonic()
    for phase in phases:
        plan = Plan(
            out, f"{phase.name}{seed}", phase.course, phase.steps, workers, phase.peak_rate, phase.decay_share
        )
        fit(model, tokenizer, plan)
        model = LlamaForCausalLM.from_pretrained(out, dtype=torch.float32)
    steps = sum(phase.steps for phase in phases)
    write_critic_card(out, Making(seed, steps, workers, time.monotonic() - started), items=held_out_items)
