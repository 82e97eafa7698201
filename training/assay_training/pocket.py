"""Make the embedded critic from nothing: corpora, tokenizer, model, training and its files, from one seed on a CPU."""

from pathlib import Path

import torch

from .mixture import corpus_texts
from .pocket_fit import Plan, fit
from .pocket_model import new_model, parameter_count, save_weights
from .pocket_prompt import END, PAD
from .pocket_tokenizer import save_tokenizer, train_tokenizer

STEPS = 4000
TOKENIZER_ITEMS_PER_DOMAIN = 4000


def train_pocket(out: Path, *, seed: int = 0, steps: int = STEPS, workers: int = 2) -> None:
    """Train the critic on the CPU, print the progress, and write weights (float16) and tokenizer to `out`.

    The same seed, steps and workers give the same weights on the same kind of machine. Each worker is a process of one
    thread with batches of its own; a step takes one batch of each.
    """
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(corpus_texts(seed, TOKENIZER_ITEMS_PER_DOMAIN))
    save_tokenizer(tokenizer, out)
    end, pad = tokenizer.token_to_id(END), tokenizer.token_to_id(PAD)
    model = new_model(tokenizer.get_vocab_size(), end=end, pad=pad)
    print(f"{parameter_count(model)} parameters, vocabulary {tokenizer.get_vocab_size()}", flush=True)
    save_weights(model, out)
    fit(model, tokenizer, Plan(out, seed, steps, workers))
