"""Makes the policy that every run begins with: the embedded policy, taught to slip.

    python -m examples.dense_vs_outcome.base base-policy

The embedded policy solves these stories almost always. For a minute it reads solutions most of which have an error
planted in them, and from then on samples errors of these kinds. What is right it still knows: its likeliest answers
are right more often than its sampled ones, and reinforcement has something to bring out again.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

import assayd
from assay_training.corpora.arithmetic import arithmetic_items
from assay_training.corpora.items import Split
from assay_training.mixture import Example
from assay_training.pocket_fit import Plan, fit
from assay_training.pocket_policy import CHAT_TEMPLATE, render_prompt
from assay_training.pocket_prompt import END
from assay_training.pocket_tokenizer import save_tokenizer

from .problems import STEPS, examination

EMBEDDED = Path(assayd.__file__).with_name("pocket") / "entropy"
COURSE_STEPS = 60
PEAK_RATE = 1e-3
DECAY_SHARE = 0.5
RIGHT = 0.3
# Weights of the kinds of errors: a wrong result, a number miscopied from the story or from a line, a wrong answer.
KINDS = (4, 1, 2, 1)


@dataclass(frozen=True, slots=True)
class Stage:
    """The share of stories, which are all there is, until this part of the course."""

    until: float = 1.0
    story: float = 1.0


@dataclass(frozen=True, slots=True)
class Course:
    """Stories with their solutions, most of them wrong somewhere."""

    stages: tuple[Stage, ...] = (Stage(),)

    def sources(self, seed: int | str) -> dict[str, Iterator[Example]]:
        """Endless examples; none that is asked in the examination."""
        asked = {row["prompt"][0]["content"] for row in examination()}
        items = arithmetic_items(seed, Split.TRAIN, steps=STEPS, right=RIGHT, kinds=KINDS, jumbled=0.0)
        return {
            "story": (
                (render_prompt(item.prompt), item.completion + END)
                for item in items
                if item.prompt not in asked
            )
        }


def make_base(out: Path, steps: int = COURSE_STEPS) -> None:
    """Train on one core and write model, tokenizer and chat template to ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(EMBEDDED / "tokenizer.json"))
    save_tokenizer(tokenizer, out, chat_template=CHAT_TEMPLATE)
    model = LlamaForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32)
    fit(model, tokenizer, Plan(out, "slips", Course(), steps, 1, PEAK_RATE, DECAY_SHARE))


def main() -> None:
    """Read the arguments and make it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=COURSE_STEPS)
    arguments = parser.parse_args()
    make_base(arguments.out, arguments.steps)


if __name__ == "__main__":
    main()
