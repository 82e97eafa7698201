"""The embedded rewriter as it is committed: it loads, it is small, it still corrects, and its card says so."""

import json
from functools import cache
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

import assayd
from assay_training.finetuning.models import load_tokenizer
from assay_training.pocket_model import parameter_count
from assay_training.pocket_rewriter_card import FIX, LOCATE
from assay_training.pocket_rewriter_figures import held_out_rewrites, rewriter_figures, row_of
from assay_training.rewriter.asking import Asking
from assay_training.rewriter.correcting import Corrector

_POCKET = Path(assayd.__file__).parent / "pocket"
_REWRITER = _POCKET / "rewriter"
_CARD = json.loads((_REWRITER / "card.json").read_text())


@cache
def _corrector() -> Corrector:
    model = LlamaForCausalLM.from_pretrained(_REWRITER, dtype=torch.float32)
    return Corrector(model, load_tokenizer(_REWRITER), Asking.by_name(LOCATE, FIX))


def test_it_corrects_held_out_solutions() -> None:
    """On a small sample it is not far below its card: the gold answer, few edits, the least reward in the error."""
    figures = rewriter_figures(_corrector(), held_out_rewrites(24))
    assert figures["gold_answer"] >= 0.85
    assert figures["step_found"] >= 0.85
    assert figures["median_edit_ratio"] < 0.15
    assert figures["reward_lowest_in_error"] >= 0.75


def test_it_leaves_right_solutions_alone() -> None:
    """Most of them are called correct, so the text is the same."""
    rows = [row_of(rewrite) for rewrite in held_out_rewrites(12, right=True)]
    copied = [made.text == row.prediction for row, made in zip(rows, _corrector()(rows), strict=True)]
    assert sum(copied) >= 10


def test_the_card_holds_the_targets() -> None:
    """Measured on a thousand held-out wrong solutions (issue 4)."""
    assert {"name", "version", "domain", "limits", "seed", "steps", "training_time_s"} <= set(_CARD)
    figures = _CARD["held_out"]
    assert figures["solutions"] == 1000
    assert figures["gold_answer"] >= 0.85
    assert figures["median_edit_ratio"] < 0.15
    assert figures["reward_lowest_in_error"] >= 0.8
    assert figures["copied"] >= 0.9


def test_it_reads_the_tokens_of_the_other_embedded_models() -> None:
    """The same vocabulary as the critic's, so that one policy's tokens are rewarded by both, in a small folder."""
    mine, its = (
        json.loads((folder / "tokenizer.json").read_text())["model"]
        for folder in (_REWRITER, _POCKET / "critic")
    )
    assert mine == its
    assert parameter_count(_corrector().model) == _CARD["parameters"]
    assert sum(path.stat().st_size for path in _REWRITER.iterdir()) <= 6_000_000
