"""What comes in, validated: unknown fields, wrong types, NaN and infinity are refused."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from ..annotators import rewriting
from ..annotators.options import CriticOptions, Mode
from ..annotators.probing import ProbeOptions
from ..annotators.segment_options import Method, SegmentOptions
from ..annotators.sequence import SequenceOptions
from ..domain.rollout import Message, Role
from ..engines.tokenizers import RawCompletion

MAX_TIMEOUT_S = 3600.0


class Wire(BaseModel):
    """Base of every request shape."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class WireTokenizer(Wire):
    """The policy tokenizer under which the token ids mean anything."""

    name: str = Field(min_length=1, examples=["Qwen/Qwen3-8B"])
    """Hub name, or a folder on the service's host that holds `tokenizer.json`."""
    revision: str | None = None
    """Commit of the hub repository. Pin it: ids mean nothing under another tokenizer."""


class WireMessage(Wire):
    """One turn of a prompt."""

    role: Role
    content: str

    def message(self) -> Message:
        """The same in the domain's words."""
        return Message(self.role, self.content)


class WireCompletion(Wire):
    """One completion in one of three ways.

    `token_ids` with the request's `tokenizer`; `text` with `offsets`; or `text` alone, which the service
    tokenizes itself, returning ids and offsets.
    """

    text: str | None = None
    token_ids: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    offsets: tuple[tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]], ...] | None = None
    """Half-open ranges of code points of `text`, one per token."""
    truncated: bool = False
    """The policy was cut off before it ended by itself."""


class WireRollout(Wire):
    """One rollout to judge."""

    id: str | None = None
    """Comes back with the result; the index in the request when absent."""
    prompt: str | tuple[WireMessage, ...] = ""
    completion: WireCompletion
    extrinsic_reward: FiniteFloat | None = None
    """The environment's own reward; added to the last token, and what the gate looks at."""
    reference: str | None = None
    """A known good answer or solution: what rewriters go by, and critics whose prompt has a place for it."""
    correct: bool | None = None
    """Whether the completion is right. Where it is not said, its final answer is compared with the reference's."""
    mask: tuple[Literal[0, 1] | bool, ...] | None = None
    """Which tokens the policy wrote; the others get 0.0."""
    entropies: tuple[Annotated[FiniteFloat, Field(ge=0)], ...] | None = None
    """The policy's entropy in nats, one per completion token; see the option `entropy_index`."""

    value: FiniteFloat | None = None
    """What the reference policy is worth at this prompt, for `/score/sequence` with `value_source: provided`."""
    group: str | None = None
    """Rollouts of one group are compared by `value_source: group_mean`; those of one prompt when absent."""

    @property
    def raw_completion(self) -> RawCompletion:
        """The completion as the aligner takes it."""
        completion = self.completion
        return RawCompletion(
            text=completion.text,
            token_ids=completion.token_ids,
            offsets=completion.offsets,
            mask=None if self.mask is None else tuple(bool(own) for own in self.mask),
            truncated=completion.truncated,
        )

    @property
    def messages(self) -> tuple[Message, ...]:
        """The prompt as turns; a string is one user message."""
        if isinstance(self.prompt, str):
            return (Message(Role.USER, self.prompt),) if self.prompt else ()
        return tuple(message.message() for message in self.prompt)


class WireMoments(Wire):
    """Count, mean and sample variance of the extrinsic rewards seen so far; zeros to begin with."""

    count: int = Field(0, ge=0)
    mean: FiniteFloat = 0.0
    variance: FiniteFloat = Field(0.0, ge=0)


class Task(StrEnum):
    """What the critic is asked to look for."""

    RELC_TOXICITY = "relc-toxicity"
    RELC_SENTIMENT = "relc-sentiment"
    RELC_SUMMARIZATION = "relc-summarization"
    REMARKS = "remarks"
    MATH_STEPS = "math-steps"


class JudgeRequest(Wire):
    """What every judging route takes."""

    mode: Mode = Mode.STRICT
    """`strict`: what the paper means. `compat`: what its released code does, quirks included."""
    tokenizer: WireTokenizer | None = None
    rollouts: tuple[WireRollout, ...] = Field(min_length=1)
    extrinsic_normalizer: WireMoments | None = None
    """Bring this call's extrinsic rewards into [-1, 1] by running z-score before they join the tokens.

    The updated moments come back as `batch.extrinsic_normalizer`; send them with the next call."""
    timeout_s: FiniteFloat | None = Field(None, gt=0, le=MAX_TIMEOUT_S)
    """Bounds the whole call, queues included; the service's default when absent."""


class TokenRequest(JudgeRequest):
    """Rollouts to judge token by token."""

    method: Literal["critic"] = "critic"
    task: Task
    options: CriticOptions = CriticOptions()


class ProbeRequest(JudgeRequest):
    """Rollouts to pay token by token by a rewriter's probabilities; each needs a `reference`."""

    method: Literal["grm"]
    options: ProbeOptions = ProbeOptions()


class RewriteRequest(JudgeRequest):
    """Rollouts to correct with as few changes as possible."""

    method: rewriting.Method = rewriting.Method.REWRITE
    """`rewrite` goes by the rollout's `reference`; `critique` by a critic's remarks, without one."""
    task: Task = Task.MATH_STEPS
    """What the critic of method `critique` looks for; the others do not ask it."""
    rubric: str | None = None
    """What to look for, in words, where that task is `remarks`."""
    options: rewriting.RewriteOptions = rewriting.RewriteOptions()


class SegmentRequest(JudgeRequest):
    """Rollouts to pay segment by segment."""

    method: Method = Method.SEGMENT
    """Where the raw reward of a segment comes from."""
    options: SegmentOptions = SegmentOptions()


class SequenceRequest(JudgeRequest):
    """Rollouts to reward as a whole, and to compare with what the reference policy would be worth."""

    method: Literal["sequence"] = "sequence"
    options: SequenceOptions = SequenceOptions()
