"""What a trainer sends: one prompt and one completion sampled from its policy."""

from dataclasses import dataclass
from enum import StrEnum

from .text import Alignment


class Role(StrEnum):
    """Who speaks in a prompt."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a prompt."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Completion:
    """Policy tokens and the text they decode to, already aligned.

    ``special`` holds the indices of tokens that are markers and not text (EOS, padding); ``mask`` says of each
    token whether the policy wrote it (None: all of them).
    """

    alignment: Alignment
    special: frozenset[int] = frozenset()
    mask: tuple[bool, ...] | None = None
    truncated: bool = False

    @property
    def text(self) -> str:
        """The completion as text: a view of its tokens."""
        return self.alignment.text

    def __len__(self) -> int:
        return len(self.alignment)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One item to judge.

    ``extrinsic`` is the environment's own reward, None when the trainer sent none: what the gate looks at and the
    critic is told. ``outcome`` is the same on the scale on which it joins the token rewards, None when that is
    ``extrinsic`` itself. ``entropies`` (nats, one per completion token) are the policy's own, where the trainer
    sent them. ``value`` is the worth of the reference policy at this prompt, where the trainer knows it. ``group``
    names the rollouts that are compared with each other; those of one prompt where the trainer sent none.
    """

    id: str
    prompt: tuple[Message, ...]
    completion: Completion
    extrinsic: float | None = None
    outcome: float | None = None
    reference: str | None = None
    correct: bool | None = None
    entropies: tuple[float, ...] | None = None
    value: float | None = None
    group: str | None = None
