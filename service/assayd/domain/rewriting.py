"""A completion beside its correction: what was edited, and how a rewriter would have written each token."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from .ports import Deadline
from .provenance import ModelRef
from .text import Alignment, Segment, Span


class Change(StrEnum):
    """What an operation does to the tokens of the prediction."""

    KEEP = "keep"
    REPLACE = "replace"
    INSERT = "insert"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of the shortest way from the tokens of the prediction to those of the rewrite.

    ``source`` is the place in the prediction, ``target`` that in the rewrite; for an insertion ``source`` is the
    token before which it happens, for a deletion ``target`` the one before which the text is missing. The texts are
    empty where a side has no token, and for the end marker.
    """

    change: Change
    source: int
    target: int
    source_text: str
    target_text: str


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement: the characters of the completion that go, its tokens that hold them, and what comes instead.

    An insertion has an empty ``span`` at its place, and an empty ``segment``.
    """

    span: Span
    segment: Segment
    replacement: str


@dataclass(frozen=True, slots=True)
class RewriteAnnotation:
    """The smallest correction of one completion.

    ``edits`` applied together give ``rewritten``. ``error_step`` is the index, from 0, of the first wrong step; None
    where there is none, or nobody looked for it. ``verified`` says whether the rewrite reaches the reference's
    answer, None where that could not be told.

    ``operations`` count tokens of the prediction and of the rewrite, an end marker included (one, however the
    completion was sent); they are the policy's where ``policy_tokens``, the service's own elsewhere.
    ``edit_distance`` is the number of those that change something, ``edit_ratio`` their share of the longer side.
    ``weights`` has one number per token of the rewrite, the end marker's last; ``token_ids`` and ``offsets`` are
    those tokens without the marker. ``prefix_preserved`` says that what stands before the first wrong step was kept
    byte by byte. ``correct`` is what is known of the prediction itself.
    """

    rewritten: str
    error_step: int | None
    verified: bool | None
    edits: tuple[Edit, ...]
    operations: tuple[Operation, ...]
    edit_distance: int
    edit_ratio: float
    prefix_preserved: bool
    weights: tuple[float, ...]
    token_ids: tuple[int, ...] | None
    offsets: tuple[Span, ...]
    policy_tokens: bool
    correct: bool | None = None
    located: str = ""
    reply: str = ""
    critique: str = ""
    record: Mapping[str, Any] | None = None
    training_rows: tuple[Mapping[str, str], ...] = ()
    rlmec_row: Mapping[str, Any] | None = None
    transient: bool = False


class Branch(StrEnum):
    """Which of the two clips a completion's rewards go through."""

    CORRECT = "correct"
    INCORRECT = "incorrect"


@dataclass(frozen=True, slots=True)
class EndMarker:
    """What the end marker is worth that the trainer did not send but a finished completion has."""

    reward: float
    prob: float
    ref_logprob: float | None = None


@dataclass(frozen=True, slots=True)
class ProbeAnnotation:
    """One reward per completion token by how likely a rewriter would have written it (RLMEC, papers.md 3.2).

    ``rewards`` combine ``intrinsic`` with the extrinsic reward. ``probs`` are the rewriter's, ``ref_logprobs``
    (nats) the reference policy's under its own prompt, where they were asked for. ``clipped_low`` and
    ``clipped_high`` count tokens beyond the bounds of their branch. ``all_zero`` warns: the paper's loss divides by
    the number of rewards that are not zero. ``end`` is there where a finished completion came without a marker.
    """

    rewards: tuple[float, ...]
    intrinsic: tuple[float, ...]
    probs: tuple[float, ...]
    ref_logprobs: tuple[float, ...] | None
    branch: Branch
    clipped_low: int
    clipped_high: int
    all_zero: bool
    end: EndMarker | None = None
    transferred: bool = False
    transient: bool = False


class Verdict(StrEnum):
    """Whether a text reaches an answer. ``unreadable``: the known answer cannot be told, or not in time."""

    RIGHT = "right"
    WRONG = "wrong"
    UNREADABLE = "unreadable"


class Checks(Protocol):
    """Compares the final answers of two solutions."""

    @property
    def name(self) -> str:
        """What tells this way to compare from others: recipes hold it."""
        ...

    async def check(self, text: str, gold: str, *, tolerance: float, deadline: Deadline) -> Verdict:
        """Whether ``text`` ends in the answer that ``gold``, a solution or a bare answer, ends in.

        A text without a final answer is wrong; ``unreadable`` speaks of ``gold`` only, or of a comparison that took
        too long. ``tolerance`` is absolute, for numbers. Never raises for what the texts say.
        """
        ...

    async def close(self) -> None:
        """Let go of everything; safe to call twice."""
        ...


class Tokenizes(Protocol):
    """Cuts a text into tokens."""

    @property
    def model(self) -> ModelRef:
        """The tokenizer, pinned."""
        ...

    @property
    def is_policy(self) -> bool:
        """Whether these are the policy's tokens; False: the service's own, where the policy's are not known."""
        ...

    @property
    def end_id(self) -> int | None:
        """The id of the end marker, None where it is not known."""
        ...

    async def encode(self, text: str) -> Alignment:
        """The tokens of ``text``, ids included, without any marker around them.

        Raises ``AnnotationFailed`` with kind ``unaligned`` where a tokenizer cannot place the text.
        """
        ...
