"""Make the embedded rewriter: generated corrections, and the training of `assayd train rewriter`, on a CPU."""

import shutil
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain, islice
from pathlib import Path

from tokenizers import Tokenizer

from .corpora.items import Split
from .corpora.rewrites import arithmetic_rewrites, write_rewrites
from .pocket_rewriter_card import FIX, LOCATE, write_rewriter_card
from .pocket_rewriter_figures import HELD_OUT_SEED
from .pocket_tokenizer import save_tokenizer
from .rewriter import train_rewriter

SHORT = 0.35
"""Share of the rows with one or two steps: of few candidates the wrong one is found sooner."""
RIGHT = 0.2
ATTACKED = 0.12
STRANGE = 0.25


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done; the card is measured on the held-out rows."""

    rows: int = 16_000
    held_out_rows: int = 1000
    batch_size: int = 16
    peak_rate: float = 2e-3


def train_pocket_rewriter(
    out: Path, *, seed: int = 0, threads: int = 2, size: Size = Size(), policy: Path | None = None
) -> None:
    """Train the rewriter and write it to `out/rewriter`, its base and the rows beside it.

    It begins as the embedded entropy model (or as that of another folder), which writes right solutions already, and
    is trained by the function behind `assayd train rewriter`.
    """
    base, rewriter = out / "base", out / "rewriter"
    _write_base(policy or Path(str(files("assayd"))) / "pocket" / "entropy", base)
    _write_rows(out, seed, size)
    train_rewriter(
        base=base,
        rows=out / "rows.jsonl",
        out=rewriter,
        locate_prompt=LOCATE,
        fix_prompt=FIX,
        held_out=out / "held_out.jsonl",
        epochs=1.0,
        batch_size=size.batch_size,
        learning_rate=size.peak_rate,
        optimizer="muon",
        saved_dtype="float16",
        threads=threads,
        seed=seed,
        device="cpu",
    )
    write_rewriter_card(rewriter, rows=size.held_out_rows)


def _write_base(policy: Path, base: Path) -> None:
    """The policy without its chat template: a rewriter sees its prompts as they are."""
    base.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        shutil.copyfile(policy / name, base / name)
    save_tokenizer(Tokenizer.from_file(str(policy / "tokenizer.json")), base)


def _write_rows(out: Path, seed: int, size: Size) -> None:
    short, full = (
        arithmetic_rewrites(seed, Split.TRAIN, steps=steps, right=RIGHT, attacked=ATTACKED, strange=STRANGE)
        for steps in ((1, 2), (2, 5))
    )
    few = round(SHORT * size.rows)
    write_rewrites(out / "rows.jsonl", chain(islice(short, few), islice(full, size.rows - few)))
    held_out = arithmetic_rewrites(HELD_OUT_SEED, Split.HELD_OUT, right=RIGHT)
    write_rewrites(out / "held_out.jsonl", islice(held_out, size.held_out_rows))
