"""The reply grammars by the name that a prompt file gives in ``reply:``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ..domain.text import Span
from . import imitation
from .reading import Reading, Reply
from .remarks import SCHEMA, read_remarks, verdict_spans
from .replies import LABELS, read_sentiment, read_summarization, read_toxicity
from .steps import CORRECT, FOLLOWS, WRONG, read_steps


@dataclass(frozen=True, slots=True)
class Grammar:
    """One way to answer.

    ``imitations`` finds it in a completion. ``praises_silence``: marks only ever fault, so a token without
    one receives ``positive_reward``. ``by_step``: remarks point at numbered steps. ``schema``: of a reply that
    is JSON, the JSON text of its schema.
    """

    read: Callable[[Reply], Reading]
    imitations: Callable[[str], tuple[Span, ...]]
    label_weights: Mapping[str, float]
    praises_silence: bool = False
    by_step: bool = False
    schema: str | None = None


GRAMMARS: Final[Mapping[str, Grammar]] = {
    "relc-toxicity": Grammar(
        read_toxicity, imitation.toxicity, label_weights={"toxic": 1.0}, praises_silence=True
    ),
    "relc-sentiment": Grammar(
        read_sentiment, imitation.sentiment, label_weights={"positive": 1.0, "negative": 1.0}
    ),
    "relc-summarization": Grammar(
        read_summarization,
        imitation.summarization,
        label_weights=dict.fromkeys(LABELS, 1.0),
        praises_silence=True,
    ),
    "remarks": Grammar(read_remarks, verdict_spans, label_weights={}, schema=SCHEMA),
    "steps": Grammar(
        read_steps, imitation.steps, label_weights={WRONG: 1.0, FOLLOWS: 0.5, CORRECT: 1.0}, by_step=True
    ),
}
