"""Make the embedded rewriter from the embedded critic, which quotes texts already, on a CPU.

Courses in the fast loop teach it to copy and to correct; the function behind `assayd train rewriter` finishes it on
rows of a file.
"""

import shutil
import time
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from .corpora.items import Split
from .corpora.rewrites import arithmetic_rewrites, write_rewrites
from .pocket_card import Making
from .pocket_fit import Plan, fit
from .pocket_rewriter_card import FIX, LOCATE, write_rewriter_card
from .pocket_rewriter_courses import (
    COPYING,
    CORRECTING,
    RIGHT,
    WIDENING,
    RewriterCourse,
    Shares,
    plain_pieces,
    training_rewrites,
)
from .pocket_rewriter_figures import HELD_OUT_SEED
from .pocket_tokenizer import save_tokenizer
from .rewriter import train_rewriter
from .rewriter.asking import Asking


@dataclass(frozen=True, slots=True)
class Phase:
    """One course in the fast loop and how it is paced; the name begins its stream of random numbers."""

    name: str
    stages: tuple[Shares, ...]
    steps: int
    peak_rate: float
    decay_share: float
    disguised: bool = False


PHASES = (
    Phase("copying", COPYING, steps=400, peak_rate=3e-3, decay_share=0.2),
    Phase("correcting", CORRECTING, steps=2000, peak_rate=2.5e-3, decay_share=0.6),
    Phase("widening", WIDENING, steps=700, peak_rate=2e-3, decay_share=0.7, disguised=True),
)

WORDS = (None, None, 5, 15)
"""In half of the last rows a few words make all the sentences, so that these begin alike and go on differently."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done. The last part trains on `rows`; the card is measured on `held_out_rows`."""

    phases: tuple[Phase, ...] = PHASES
    rows: int = 2400
    batch_size: int = 16
    last_rate: float = 6e-4
    glance_rows: int = 100
    held_out_rows: int = 1000


def train_pocket_rewriter(out: Path, *, seed: int = 0, workers: int = 1, size: Size = Size()) -> None:
    """Train the rewriter and write it to `out/rewriter`, its base and the rows beside it.

    The same seed and workers give the same weights on the same kind of machine.
    """
    started = time.monotonic()
    write_base(out / "base", seed=seed, workers=workers, phases=size.phases)
    card = finish(out, seed=seed, size=size)
    steps = sum(phase.steps for phase in size.phases) + int(card["steps"])
    making = Making(seed, steps, workers, time.monotonic() - started)
    write_rewriter_card(out / "rewriter", making, rows=size.held_out_rows)


def write_base(base: Path, *, seed: int, workers: int, phases: tuple[Phase, ...]) -> None:
    """The embedded critic after the courses of the fast loop; each begins from the weights that are saved there."""
    critic = Path(str(files("assayd"))) / "pocket" / "critic"
    base.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        shutil.copyfile(critic / name, base / name)
    tokenizer = Tokenizer.from_file(str(critic / "tokenizer.json"))
    save_tokenizer(tokenizer, base)
    for phase in phases:
        course = RewriterCourse(
            phase.stages, plain_pieces(tokenizer), Asking.by_name(LOCATE, FIX), phase.disguised
        )
        stream = f"rewriter {phase.name} {seed}"
        plan = Plan(base, stream, course, phase.steps, workers, phase.peak_rate, phase.decay_share)
        fit(LlamaForCausalLM.from_pretrained(base, dtype=torch.float32), tokenizer, plan)


def finish(out: Path, *, seed: int, size: Size) -> dict[str, Any]:
    """Train `out/base` on rows and write it to `out/rewriter`; its card is returned."""
    pieces = plain_pieces(Tokenizer.from_file(str(out / "base" / "tokenizer.json")))
    rewrites = training_rewrites(f"rows {seed}", (2, 5), pieces, WORDS)
    write_rewrites(out / "rows.jsonl", islice(rewrites, size.rows))
    held_out = arithmetic_rewrites(HELD_OUT_SEED, Split.HELD_OUT, right=RIGHT)
    write_rewrites(out / "held_out.jsonl", islice(held_out, size.glance_rows))
    return train_rewriter(
        base=out / "base",
        rows=out / "rows.jsonl",
        out=out / "rewriter",
        locate_prompt=LOCATE,
        fix_prompt=FIX,
        held_out=out / "held_out.jsonl",
        epochs=1.0,
        batch_size=size.batch_size,
        learning_rate=size.last_rate,
        optimizer="muon",
        saved_dtype="float16",
        threads=1,
        seed=seed,
        device="cpu",
    )
