"""Every choice a caller has over ``/score/sequence``: the wire embeds it, the recipe reports it (papers.md 5.6)."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from annotated_types import Ge, Gt, Le, MaxLen, MinLen

from ...domain.failure import FailureKind, Rejected
from ...domain.ports import Window
from ..options import AS_SENT, Mode
from ..segment_options import TokenizerPolicy
from .advantages import Sampling, ValueSource

MAX_PROMPT_LENGTH: Final = 640
LENGTH_TARGET: Final = 128
VOTING_TEMPERATURE: Final = 0.7
EPS: Final = 0.9


class Kind(StrEnum):
    """Where a component comes from.

    ``model``: a hosted reward model. ``tfidf_diversity``, ``length``: the rules of the A-LoL paper. ``hook``: a
    function of the service's owner. ``judge``: how surely the critic answers a question about the completion with
    Yes. ``rubric``: the weighted share of criteria that it meets (2507.17746). ``extrinsic``: the trainer's own reward.
    """

    MODEL = "model"
    TFIDF_DIVERSITY = "tfidf_diversity"
    LENGTH = "length"
    HOOK = "hook"
    JUDGE = "judge"
    RUBRIC = "rubric"
    EXTRINSIC = "extrinsic"


class Activation(StrEnum):
    """What is done to a component before it is weighed: brought into (0, 1), or nothing."""

    SIGMOID = "sigmoid"
    RAW = "raw"


class AnswerBy(StrEnum):
    """How the critic's answer becomes a number: the probability of "Yes", or the share of replies that say so."""

    PROBABILITY = "probability"
    VOTES = "votes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One thing that a rubric asks for, or, with a weight below 0, warns of."""

    __pydantic_config__: ClassVar[dict[str, Any]] = AS_SENT

    name: Annotated[str, MinLen(1)]
    description: Annotated[str, MinLen(1)]
    """What a completion has to do to meet it, in words."""
    weight: Annotated[float, Ge(-1e6), Le(1e6)] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentOptions:
    """One part of the reward."""

    __pydantic_config__: ClassVar[dict[str, Any]] = AS_SENT

    name: Annotated[str, MinLen(1)]
    """What the answer calls it."""
    kind: Kind = Kind.MODEL
    model: str | None = None
    """Which hosted reward model, by its name in the settings; the only one when absent. For `model`."""
    hook: str | None = None
    """Which hook, by its name in the settings; the only one when absent. For `hook`."""
    weight: Annotated[float, Ge(-1e6), Le(1e6)] = 1.0
    activation: Activation | None = None
    """`sigmoid` or `raw`. A model's own when absent (the paper: sigmoid); `raw` for everything else."""
    length_target: Annotated[int, Ge(1)] | None = None
    """Tokens from which on a completion is long enough; shorter ones have their share of 1. 128. For `length`."""
    question: Annotated[str, MinLen(1)] | None = None
    """What the critic is to answer with Yes or No. For `judge`, which needs it."""
    criteria: Annotated[tuple[Criterion, ...], MaxLen(64)] = ()
    """Asked one by one. For `rubric`, which needs one of a weight above 0."""
    answer_by: AnswerBy | None = None
    """`probability` where the critic's engine can say it and `n_votes` is absent. For `judge` and `rubric`."""
    reasoning: bool = False
    """Let the critic reason before its verdict; it is then counted by votes. For `judge` and `rubric`."""
    max_tokens: Annotated[int, Ge(1)] | None = None
    """Longest reply: 16, with `reasoning` 1024 when absent. Models that think aloud need room for it. For votes."""
    n_votes: Annotated[int, Ge(1), Le(64)] | None = None
    """Replies to count; 1 when absent. For `votes`."""
    temperature: Annotated[float, Ge(0)] | None = None
    """Of the votes: 0 for one, 0.7 for several when absent. Above 0 without `seed`, nothing is cached."""
    seed: Annotated[int, Ge(0), Le(2**32 - 1)] | None = None
    """Seed of the first vote; vote `i` uses `seed + i`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceOptions:
    """Options of sequence rewards."""

    __pydantic_config__: ClassVar[dict[str, Any]] = AS_SENT

    components: Annotated[tuple[ComponentOptions, ...], MaxLen(32)] | None = None
    """What the reward is the weighted sum of; an empty list: the rollout's `extrinsic_reward` and nothing else.

    Every reward model that the service hosts when absent."""
    value_source: ValueSource | None = None
    """What a reward is compared with. `head` where the service hosts one when absent, else `none`."""
    sampling: Sampling = Sampling.GOOD_PRIORITY
    """How `sampling_weight` is made."""
    dataset_weight_sum: Annotated[float, Ge(0)] | None = None
    """The sum of `batch.weight_sum` over a whole data set, to weigh by instead of this call's own."""
    eps: Annotated[float, Gt(0), Le(1)] = EPS
    """The paper clips importance ratios to `1 - eps`, `1 + eps`; they are the trainer's, so this is only handed on."""
    return_ref_logprob: bool = False
    """Send along the log-probability (nats) of the policy's tokens under the reference policy, for those ratios."""
    max_length: Annotated[int, Ge(1)] | None = None
    """Most tokens of prompt and completion; more is `too_long`. What the model holds when absent."""
    max_prompt_length: Annotated[int, Ge(1)] = MAX_PROMPT_LENGTH
    """A longer prompt loses its left part, in the model's tokens, and the answer says so."""
    tokenizer_policy: TokenizerPolicy = TokenizerPolicy.TRANSFER
    """What to do where a model does not read the token ids as the trainer does."""

    @property
    def window(self) -> Window:
        """What a model may be shown."""
        transfer = self.tokenizer_policy is TokenizerPolicy.TRANSFER
        return Window(self.max_length, self.max_prompt_length, transfer=transfer)


BY_VOTES: Final = ("reasoning", "max_tokens", "n_votes", "temperature", "seed")
"""What has a say in votes alone."""
_OF_KIND: Final[dict[str, tuple[Kind, ...]]] = {
    "model": (Kind.MODEL,),
    "hook": (Kind.HOOK,),
    "length_target": (Kind.LENGTH,),
    "question": (Kind.JUDGE,),
    "criteria": (Kind.RUBRIC,),
    "answer_by": (Kind.JUDGE, Kind.RUBRIC),
    "reasoning": (Kind.JUDGE, Kind.RUBRIC),
    "max_tokens": (Kind.JUDGE, Kind.RUBRIC),
    "n_votes": (Kind.JUDGE, Kind.RUBRIC),
    "temperature": (Kind.JUDGE, Kind.RUBRIC),
    "seed": (Kind.JUDGE, Kind.RUBRIC),
}


def check(options: SequenceOptions, mode: Mode) -> None:
    """Raise ``Rejected`` for options that do not go together."""
    if mode is Mode.COMPAT:
        raise Rejected(
            FailureKind.INVALID,
            "compat mode has nothing to imitate here: the released code's values depend on dropout and padding",
            pointer="/mode",
        )
    names = [component.name for component in options.components or ()]
    for place, component in enumerate(options.components or ()):
        refuse = _refuser(place)
        if component.name in names[:place]:
            refuse("name", f"two components are called {component.name!r}")
        for field, kinds in _OF_KIND.items():
            if getattr(component, field) not in (None, (), False) and component.kind not in kinds:
                refuse(field, f"{field} is for {' and '.join(kinds)}, this is `{component.kind}`")
        _check_asking(component, refuse)


def _check_asking(component: ComponentOptions, refuse: Callable[[str, str], None]) -> None:
    if component.kind is Kind.JUDGE and not (component.question or "").strip():
        refuse("question", "a judge needs a question: say what to answer with Yes or No")
    if component.kind is Kind.RUBRIC:
        criteria = component.criteria
        if not any(criterion.weight > 0 for criterion in criteria):
            refuse("criteria", "a rubric needs a criterion of a weight above 0")
        if len({criterion.name for criterion in criteria}) < len(criteria):
            refuse("criteria", "two criteria have one name")
    if component.answer_by is AnswerBy.PROBABILITY:
        for field in BY_VOTES:
            if getattr(component, field) not in (None, False):
                refuse(field, f"{field} is for votes: a probability is told once")


def _refuser(place: int) -> Callable[[str, str], None]:
    def refuse(field: str, detail: str) -> None:
        raise Rejected(FailureKind.INVALID, detail, pointer=f"/options/components/{place}/{field}")

    return refuse
