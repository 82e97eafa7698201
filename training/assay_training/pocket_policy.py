"""The embedded policy, a small language model of right completions: what it is shown, and how a prompt becomes text.

It never sees a wrong result or an insult. So it is nearly certain of what follows from the text before and open about
wordings, and the entropy of its predictions cuts a completion into clauses.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

from .corpora.arithmetic import arithmetic_items
from .corpora.items import Item, Split
from .corpora.toxicity import toxicity_items
from .mixture import Example, Stage
from .pocket_fit import Plan, fit
from .pocket_model import new_model
from .pocket_prompt import END, PAD, defang
from .pocket_tokenizer import save_tokenizer, token_id

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] | replace('<|', '< |') }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|completion|>\n{% endif %}"
)


PEAK_RATE = 3e-3
DECAY_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class PolicyCourse:
    """Prompts with their right completions."""

    stages: tuple[Stage, ...]

    def sources(self, seed: int | str) -> dict[str, Iterator[Example]]:
        """Endless examples of each kind: the prompt, and a right completion behind it.

        None of random words: they teach that anything may follow, and unfamiliar text would be cut into syllables.
        """
        train = Split.TRAIN
        items = {
            "terse": arithmetic_items(seed, train, steps=(1, 3), terse=1.0, right=1.0),
            "short": arithmetic_items(seed, train, steps=(1, 2), right=1.0, jumbled=0.0),
            "full": arithmetic_items(seed, train, steps=(2, 5), right=1.0, jumbled=0.0),
            "toxicity": toxicity_items(seed, train, jumbled=0.0),
        }
        return {name: map(_example, _clean(source)) for name, source in items.items()}


POLICY = PolicyCourse(
    stages=(
        Stage(0.25, terse=0.60, short=0.25, full=0.00, sentiment=0.00, toxicity=0.15),
        Stage(0.50, terse=0.25, short=0.25, full=0.35, sentiment=0.00, toxicity=0.15),
        Stage(1.00, terse=0.05, short=0.10, full=0.70, sentiment=0.00, toxicity=0.15),
    ),
)


def render_prompt(prompt: str) -> str:
    """What stands before a completion; the same as `CHAT_TEMPLATE` makes of one message."""
    return f"{defang(prompt)}\n<|completion|>\n"


def _clean(items: Iterator[Item]) -> Iterator[Item]:
    return (item for item in items if not item.spans)


def _example(item: Item) -> Example:
    return render_prompt(item.prompt), defang(item.completion) + END


def train_policy(out: Path, tokenizer: Tokenizer, *, seed: int, steps: int, workers: int) -> None:
    """Train the model on the CPU and write weights (float16), tokenizer and chat template to `out`."""
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    save_tokenizer(tokenizer, out, chat_template=CHAT_TEMPLATE)
    ends = {"end": token_id(tokenizer, END), "pad": token_id(tokenizer, PAD)}
    model = new_model(tokenizer.get_vocab_size(), **ends)
    fit(model, tokenizer, Plan(out, f"policy {seed}", POLICY, steps, workers, PEAK_RATE, DECAY_SHARE))
