"""The parts of the training loop: prompts as the service fills them, batches, the optimizer, the schedule."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

import assay_training
from assay_training.corpora.items import Domain
from assay_training.mixture import FIRST, SECOND, Course, Mixture, corpus_texts
from assay_training.muon import orthogonalized
from assay_training.pocket import PHASES, train_pocket
from assay_training.pocket_fit import Plan
from assay_training.pocket_prompt import END, labelled_steps, render
from assay_training.pocket_tokenizer import train_tokenizer

_PROMPTS = Path(assay_training.__file__).parents[2] / "prompts" / "pocket"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A tokenizer made from a few items."""
    return train_tokenizer(corpus_texts(0, 50))


@pytest.mark.parametrize("domain", Domain)
def test_training_reads_what_the_service_sends(domain: Domain) -> None:
    """The prompt that is trained on is the body of the prompt file, filled in."""
    body = (_PROMPTS / f"{domain.value}.md").read_text().split("---\n", 2)[2].strip("\n")
    completion = "13 * 2 = 26\nA: 26"
    filled = body.replace("{{prompt}}", "a question").replace("{{steps}}", labelled_steps(completion))
    assert filled.replace("{{completion}}", completion.replace("\n", " ")) == render(
        domain, "a question", completion
    )


def test_blank_lines_are_no_steps() -> None:
    """Steps are numbered from 0 over the lines that are not blank."""
    assert labelled_steps("one\n\n  \ntwo") == "[0] one\n[1] two"


def test_only_the_reply_is_learned(tokenizer: Tokenizer) -> None:
    """Each row's targets are one reply and its end; the same seed gives the same batch."""
    batch, again = (Mixture(tokenizer, "1 0", 600).batch(0.9) for _ in range(2))
    assert torch.equal(batch.ids_bt, again.ids_bt)
    for row in batch.targets_bt:
        learned = row[row != -100].tolist()
        assert learned[-1] == tokenizer.token_to_id(END)
        assert 0 < len(learned) < len(row)


@pytest.mark.parametrize("course", [FIRST, SECOND])
def test_a_course_is_covered_by_its_stages(course: Course) -> None:
    """Stages follow each other up to the end, and each one's shares sum to one."""
    assert [stage.until for stage in course.stages] == sorted(stage.until for stage in course.stages)
    assert course.stages[-1].until == 1.0
    for stage in course.stages:
        assert stage.terse + stage.short + stage.full + stage.sentiment + stage.toxicity == pytest.approx(1.0)


def test_orthogonalized_matrices_have_singular_values_near_one() -> None:
    """The Newton-Schulz iteration brings every singular value into [0.5, 1.5], whatever the scale."""
    matrices = torch.randn(3, 32, 48, generator=torch.Generator().manual_seed(0)) * 1e-3
    values = torch.linalg.svdvals(orthogonalized(matrices))
    assert values.min() > 0.5
    assert values.max() < 1.5


def test_the_rate_rises_and_falls() -> None:
    """The learning rate warms up, reaches its peak, and ends near nothing."""
    plan = Plan(Path(), "0", FIRST, steps=2000, workers=1, peak_rate=3e-3, decay_share=0.6)
    rates = [plan.rate_at(step) for step in range(1, 2001)]
    assert max(rates) == 3e-3
    assert rates[0] < 3e-3 / 50
    assert rates[-1] < 3e-3 / 500


def test_the_command_makes_a_critic_that_loads(tmp_path: Path) -> None:
    """A training of two steps a phase writes weights, tokenizer and card, and the engine can load them."""
    phases = tuple(replace(phase, steps=2) for phase in PHASES)
    train_pocket(tmp_path, workers=1, phases=phases, held_out_items=1)
    assert LlamaForCausalLM.from_pretrained(tmp_path).config.eos_token_id is not None
    card = json.loads((tmp_path / "card.json").read_text())
    assert (card["steps"], card["seed"]) == (4, 0)
    assert set(card["held_out"]) == set(Domain)
