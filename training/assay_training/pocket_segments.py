"""Make the embedded segment model and its entropy model from nothing: policy, pairs, training and cards, on a CPU."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM, LlamaForTokenClassification

from assayd.annotators.cutting import Cut, Segmenter

from .corpora.pairs import Pair, write_pairs
from .pocket_card import About, Making, write_card
from .pocket_pairs import DOMAINS, LARGEST, held_out_pairs, message_pairs, terse_pairs, twin_pairs
from .pocket_policy import train_policy
from .pocket_policy_card import write_policy_card
from .segment_figures import Judge, segment_figures
from .segment_rm import train_segment_rm

BATCH_PAIRS = 64
C_ENT = 2.0  # the entropies of the texts it was trained on have few values around this one
DOMAIN = (
    "Two tiny worlds of generated English: grade-school arithmetic solutions in lines with an equation each (a segment "
    "with a wrong number is worth less), and messages (one with an insult, a rude command or a threat is worth less)."
)
LIMITS = (
    "It shows the machinery on generated text and is no judge of real work: name a real model for that.",
    f"Arithmetic: whole numbers from 1 to {LARGEST} in digits, one operation a step, one to three steps. It notices "
    "wrong results and wrong final numbers, not numbers that were copied or carried wrongly, nor a wrong idea.",
    "It was trained on pairs that are worded alike; it compares two solutions of one wording better than two others.",
    "Insults, rude commands and threats: only those of its training vocabulary, which the held-out pairs share; their "
    "names, topics and sentence templates were never trained on.",
    "A segment is judged at its last token, so an error counts in the segment that holds it and, faintly, behind it.",
)
ABOUT = About("assay-pocket-segment", "1", DOMAIN, LIMITS)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done; the held-out pairs are of each domain."""

    policy_steps: int = 1300
    terse_pairs: int = 19_200
    twin_pairs: int = 25_600
    message_pairs: int = 8000
    held_out_pairs: int = 1000


FULL = Size()


def train_pocket_segments(
    out: Path, *, seed: int = 0, workers: int = 2, size: Size = FULL, tokenizer: Path | None = None
) -> None:
    """Train the two models and write them to `out/entropy` and `out/segment`, the pairs beside them.

    Both read the tokenizer of the embedded critic (or that of another file), which is not trained anew. The segment
    model is trained by the function behind `assayd train segment-rm`, three times: on terse pairs cut into lines, from
    the entropy model, where it learns to check a result; on twins of its own domain, cut by entropy; and on messages.
    """
    source = tokenizer or Path(str(files("assayd"))) / "pocket" / "critic" / "tokenizer.json"
    pieces, started = Tokenizer.from_file(str(source)), time.monotonic()
    train_policy(out / "entropy", pieces, seed=seed, steps=size.policy_steps, workers=workers)
    making = Making(seed, size.policy_steps, workers, time.monotonic() - started)
    write_policy_card(out / "entropy", making, items=size.held_out_pairs)
    train_segments(out, seed=seed, threads=workers, size=size)
    write_segment_card(out / "entropy", out / "segment", pairs=size.held_out_pairs)


def train_segments(out: Path, *, seed: int, threads: int, size: Size = FULL) -> None:
    """Train the segment model of `out/segment` from the entropy model of `out/entropy`, in three courses."""
    held_out = (pair for domain in DOMAINS for pair in held_out_pairs(domain, size.held_out_pairs))
    write_pairs(out / "held_out.jsonl", held_out)
    lines, clauses = Cut(segmenter=Segmenter.STEP), Cut(c_ent=C_ENT)
    train = partial(_train, out, seed, threads)
    train("entropy", "terse", islice(terse_pairs(seed), size.terse_pairs), lines, rate=2e-3)
    train("terse", "twins", islice(twin_pairs(seed), size.twin_pairs), clauses, rate=1.5e-3)
    train("twins", "segment", islice(message_pairs(seed), size.message_pairs), clauses, rate=1e-3)


def _train(
    out: Path,
    seed: int,
    threads: int,
    base: str,
    name: str,
    pairs: Iterable[Pair],
    cut: Cut,
    *,
    rate: float,
) -> None:
    write_pairs(out / f"{name}.jsonl", pairs)
    train_segment_rm(
        base=out / base,
        pairs=out / f"{name}.jsonl",
        out=out / name,
        entropy_model=out / "entropy",
        cut=cut,
        held_out=out / "held_out.jsonl",
        batch_pairs=BATCH_PAIRS,
        learning_rate=rate,
        optimizer="muon",
        saved_dtype="float16" if name == "segment" else "float32",
        device="cpu",
        threads=threads,
        seed=seed,
    )


def write_segment_card(entropy: Path, segment: Path, *, pairs: int = 1000) -> None:
    """Measure the saved weights on held-out pairs of both domains, and write `card.json`."""
    judge = Judge(
        LlamaForTokenClassification.from_pretrained(segment, dtype=torch.float32),
        LlamaForCausalLM.from_pretrained(entropy, dtype=torch.float32),
        Tokenizer.from_file(str(segment / "tokenizer.json")),
        C_ENT,
    )
    figures = {domain.value: segment_figures(judge, held_out_pairs(domain, pairs)) for domain in DOMAINS}
    card = {
        **ABOUT.as_json(),
        "c_ent": C_ENT,
        "measured": "shares of held-out pairs ranked right, and of the errors of rejected completions whose segment is "
        "worth less than the mean of the clean segments of its completion, than each of them, than all of them, and "
        "than the same place of the twin",
        "held_out": {
            domain: {name: round(value, 4) for name, value in rows.items()}
            for domain, rows in figures.items()
        },
    }
    write_card(segment, card)
