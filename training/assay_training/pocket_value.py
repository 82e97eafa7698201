"""The embedded value head: what the embedded language model is worth at a prompt of its two small worlds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from assayd.domain.rollout import Message, Role

from .corpora.arithmetic_pairs import arithmetic_pairs
from .corpora.items import Split
from .corpora.pairs import mixed
from .corpora.toxicity_pairs import toxicity_pairs
from .pocket_pairs import LARGEST
from .value import train_value
from .value.rows import Row

NAME: Final = "assay-pocket-value"
TEMPERATURE: Final = 1.0
MAX_TOKENS: Final = 160
DOMAIN: Final = (
    "What the embedded language model is worth on average at a prompt, by the embedded segment model's reward: "
    "grade-school arithmetic stories of one to three steps with numbers up to twelve, and requests for messages."
)
LIMITS: Final = (
    "It foretells what one small model says of another. At prompts of other kinds its values mean nothing.",
    "Two prompts in three have names, objects and templates that the language model was trained on, one has others; "
    "the held-out prompts are drawn alike.",
)
SHARES: Final = ((0.5, Split.TRAIN), (0.25, Split.HELD_OUT))
"""Of arithmetic; messages have half of that."""


def pocket_prompts(count: int, seed: int) -> list[tuple[Message, ...]]:
    """Different prompts of both worlds."""
    sources = [
        (share, arithmetic_pairs(f"value {seed}", split, steps=(1, 3), twins=1.0, largest=LARGEST))
        for share, split in SHARES
    ] + [(share / 2, toxicity_pairs(f"value {seed}", split, twins=1.0)) for share, split in SHARES]
    prompts: dict[str, None] = {}
    for pair in mixed(f"value {seed}", sources):
        prompts[pair.prompt] = None
        if len(prompts) == count:
            break
    return [(Message(Role.USER, prompt),) for prompt in prompts]


def train_pocket_value(
    base: Path, rows: Sequence[Row], out: Path, *, seed: int, threads: int, **made: Any
) -> dict[str, Any]:
    """Train the head on what the base wrote."""
    about = {"name": NAME, "domain": DOMAIN, "limits": list(LIMITS)}
    return train_value(
        base=base,
        rows=rows,
        out=out,
        held_out=0.2,
        epochs=15,
        batch_size=64,
        learning_rate=3e-4,
        device="cpu",
        threads=threads,
        seed=seed,
        about=about,
        **made,
    )
