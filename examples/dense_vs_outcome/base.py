"""Makes the policy that every run begins with: a Llama of a million parameters that solves some of the problems.

    python -m examples.dense_vs_outcome.base base-policy

It reads right solutions for a short while, as the embedded policy does for longer.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

import assayd
from assay_training.corpora.arithmetic import arithmetic_items
from assay_training.corpora.items import Split
from assay_training.mixture import Example
from assay_training.pocket_fit import Plan, fit
from assay_training.pocket_policy import CHAT_TEMPLATE, render_prompt
from assay_training.pocket_prompt import END, PAD
from assay_training.pocket_tokenizer import MAX_POSITIONS, save_tokenizer, token_id

from .problems import STEPS, examination

TOKENIZER = Path(assayd.__file__).with_name("pocket") / "entropy" / "tokenizer.json"
COURSE_STEPS = 400
PEAK_RATE = 3e-3
DECAY_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Stage:
    """Shares of bare numbers and of stories until this part of the course."""

    until: float
    terse: float
    story: float


@dataclass(frozen=True, slots=True)
class Course:
    """Right solutions: first mostly of bare numbers, then mostly of stories."""

    stages: tuple[Stage, ...] = (Stage(0.4, 0.6, 0.4), Stage(1.0, 0.1, 0.9))

    def sources(self, seed: int | str) -> dict[str, Iterator[Example]]:
        """Endless examples of each kind."""
        asked = {row["prompt"][0]["content"] for row in examination()}
        terse = arithmetic_items(seed, Split.TRAIN, steps=(1, 3), terse=1.0, right=1.0)
        story = arithmetic_items(seed, Split.TRAIN, steps=STEPS, right=1.0, jumbled=0.0)
        kinds = {"terse": terse, "story": (item for item in story if item.prompt not in asked)}
        return {
            name: ((render_prompt(item.prompt), item.completion + END) for item in items)
            for name, items in kinds.items()
        }


def make_base(out: Path, steps: int = COURSE_STEPS) -> None:
    """Train on one core and write model, tokenizer and chat template to ``out``."""
    torch.manual_seed(0)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    save_tokenizer(tokenizer, out, chat_template=CHAT_TEMPLATE)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=128,
        intermediate_size=344,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=token_id(tokenizer, END),
        pad_token_id=token_id(tokenizer, PAD),
        initializer_range=0.05,
    )
    plan = Plan(out, "base policy", Course(), steps, 1, PEAK_RATE, DECAY_SHARE)
    fit(LlamaForCausalLM(config), tokenizer, plan)


def main() -> None:
    """Read the arguments and make it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=COURSE_STEPS)
    arguments = parser.parse_args()
    make_base(arguments.out, arguments.steps)


if __name__ == "__main__":
    main()
