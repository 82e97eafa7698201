"""What a corpus is made of: one item is a prompt, a completion, its gold spans and the gold reply of a critic."""

from dataclasses import dataclass
from enum import StrEnum


class Domain(StrEnum):
    """The small worlds of the embedded critic; each value is the name of a prompt in `prompts/pocket`."""

    ARITHMETIC = "math-steps"
    SENTIMENT = "relc-sentiment"
    TOXICITY = "relc-toxicity"


class Split(StrEnum):
    """Which words and templates an item may use. No name, object or template is in both."""

    TRAIN = "train"
    HELD_OUT = "held-out"


class Label(StrEnum):
    """What a gold span is marked as."""

    WRONG = "wrong"
    POSITIVE = "positive"
    NEGATIVE = "negative"
    TOXIC = "toxic"


@dataclass(frozen=True, slots=True)
class GoldSpan:
    """Half-open range of characters of the completion, with its label."""

    start: int
    end: int
    label: Label


@dataclass(frozen=True, slots=True)
class Item:
    """One generated example.

    `kind` says what was planted (`none` when there is nothing to mark); `attacked` that the completion carries orders
    to the critic. The spans and the reply are those of the text without the attack.
    """

    domain: Domain
    kind: str
    prompt: str
    completion: str
    spans: tuple[GoldSpan, ...]
    reply: str
    attacked: bool = False
