"""Every choice a caller has over the span critic, in one place: the wire embeds it, the recipe reports it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from annotated_types import Ge, Gt, Le

from ..domain.failure import FailureKind, Rejected
from .prompting import Prompt

AS_SENT: Final[dict[str, Any]] = {
    "extra": "forbid",
    "strict": True,
    "allow_inf_nan": False,
    "use_attribute_docstrings": True,
}
"""How pydantic reads options from the wire: nothing unknown, nothing coerced, and documented by their docstrings."""


class Mode(StrEnum):
    """What the paper means, or what its released code does."""

    STRICT = "strict"
    COMPAT = "compat"


class ScoreMap(StrEnum):
    """How the extrinsic reward is told to the critic, out of ten."""

    NONE = "none"
    ROUGE = "rouge"
    PREFERENCE = "preference"
    LINEAR = "linear"


class Matching(StrEnum):
    """How quotes become tokens: by place, or by the released code's substring test."""

    OFFSET = "offset"
    SUBSTRING = "substring"


class Occurrence(StrEnum):
    """Which occurrence a quote means when the completion repeats it."""

    NEXT = "next"
    FIRST = "first"
    ALL = "all"


class TokenOverlap(StrEnum):
    """What a token that lies only partly inside a span receives."""

    ANY = "any"
    MAJORITY = "majority"
    FRACTION = "fraction"


class Layout(StrEnum):
    """Whether the critic reads prompt and completion as one running text or as two."""

    QUERY_RESPONSE = "query_response"
    SEPARATE = "separate"


class Newlines(StrEnum):
    """What the critic sees where the text breaks a line; replies of one line per quote need ``space``."""

    KEEP = "keep"
    SPACE = "space"
    REMOVE = "remove"


class Unit(StrEnum):
    """How much of a completion the critic sees at a time."""

    COMPLETION = "completion"
    SENTENCE = "sentence"


class VoteRule(StrEnum):
    """How several critiques become one reward per token."""

    MAJORITY = "majority"
    INTERSECTION = "intersection"
    MEAN = "mean"


class OnError(StrEnum):
    """What a rollout that could not be judged carries: no rewards, or zeros as the paper's code gave."""

    FAIL = "fail"
    ZERO = "zero"


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticOptions:
    """Options of the span critic (RELC, papers.md 5.2). An absent option takes the default of the prompt."""

    __pydantic_config__: ClassVar[dict[str, Any]] = AS_SENT

    max_tokens: Annotated[int, Ge(1)] | None = None
    """Longest critique. The paper: toxicity 600, sentiment 60, summaries 100, self-critique 40."""
    temperature: Annotated[float, Ge(0)] | None = None
    """0 is greedy. Above 0 without `seed`, nothing is cached."""
    top_p: Annotated[float, Gt(0), Le(1)] | None = None
    """Nucleus of the sampling; moot at temperature 0."""
    seed: Annotated[int, Ge(0), Le(2**32 - 1)] | None = None
    """Seed of the first critique; vote `i` uses `seed + i`."""
    stop: tuple[str, ...] | None = None
    """Strings that end the critique. Self-critique in the paper stops at the first blank line."""

    threshold: float | None = None
    """The critic is spared, and intrinsic rewards are 0, when the extrinsic reward is above this."""
    score_map: ScoreMap | None = None
    """`linear` needs `score_min` and `score_max`, and is the default where both are given."""
    score_min: float | None = None
    """The extrinsic reward that is shown as 0/10."""
    score_max: float | None = None
    """The extrinsic reward that is shown as 10/10."""
    show_reward_to_critic: bool | None = None
    """Tell the critic the extrinsic reward, through `score_map`."""
    text_to_critic: Layout | None = None
    """Prompt and completion as one running text or apart, in prompts that leave the choice."""
    newlines: Newlines | None = None
    """What line breaks look like to the critic. Rewards are placed in the text as it was sent."""
    unit: Unit | None = None
    """`sentence` shows the critic one sentence at a time: what one says cannot move the reward of another."""
    rubric: str | None = None
    """What to look for, in words; required by `remarks` and refused by the other tasks."""

    negative_reward: Annotated[float, Le(0)] | None = None
    """Of a token in a span that the critic faults."""
    positive_reward: Annotated[float, Ge(0)] | None = None
    """Of a token in a span that the critic praises; in toxicity and summaries, of an unmarked token."""
    neutral_reward: float | None = None
    """Of a token without any mark, for the tasks whose marks go both ways."""
    label_weights: Mapping[str, Annotated[float, Ge(0)]] | None = None
    """Multiplies the reward of a label; 1 for a label not named. Adds to the prompt's own weights."""
    alpha_ext: float = 1.0
    """Weight of the extrinsic reward, which goes to the last real token."""
    alpha_int: float = 1.0
    """Weight of the intrinsic rewards."""
    first_token_intrinsic: bool | None = None
    """False: the first token gets no intrinsic reward, as in the paper's preference script."""

    match: Matching | None = None
    """`offset` in strict mode, `substring` in compat mode."""
    occurrence: Occurrence = Occurrence.NEXT
    """`next`: the k-th copy of a quote is its k-th occurrence, then the first."""
    token_overlap: TokenOverlap = TokenOverlap.ANY
    """`fraction` gives a token the mean of its characters, so that rewards do not depend on the tokenizer."""
    fuzzy: bool | None = None
    """Look for inexact quotes: case, whitespace and quotes, Unicode form, then edit ratio >= 0.8."""
    ellipsis: bool = False
    """Let `a … b` mean everything from `a` to `b`."""
    max_spans: Annotated[int, Ge(1), Le(1024)] = 64
    """Spans that one critique may mark; the others are reported as `over_limit` and count for nothing."""

    n_votes: Annotated[int, Ge(1), Le(64)] = 1
    """Critiques per rollout. They differ only at a temperature above 0."""
    vote: VoteRule = VoteRule.MAJORITY
    """How the critiques are combined, token by token."""
    on_error: OnError = OnError.FAIL
    """`zero` gives a failed rollout rewards of 0; its status stays failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled(CriticOptions):
    """The same options with every choice made: what the recipe records."""

    max_tokens: int
    temperature: float
    top_p: float
    stop: tuple[str, ...]
    score_map: ScoreMap
    show_reward_to_critic: bool
    text_to_critic: Layout
    newlines: Newlines
    unit: Unit
    negative_reward: float
    positive_reward: float
    neutral_reward: float
    label_weights: Mapping[str, float]
    first_token_intrinsic: bool
    match: Matching
    fuzzy: bool


_HOUSE: Final[Mapping[str, Any]] = {
    "max_tokens": 600,
    "temperature": 0.0,
    "top_p": 0.95,
    "stop": (),
    "score_map": ScoreMap.NONE,
    "show_reward_to_critic": False,
    "text_to_critic": Layout.SEPARATE,
    "newlines": Newlines.SPACE,
    "unit": Unit.COMPLETION,
    "negative_reward": -0.5,
    "positive_reward": 0.0,
    "neutral_reward": 0.0,
    "label_weights": {},
    "fuzzy": False,
}
_OF_PROMPTS: Final = _HOUSE.keys() | {"threshold", "first_token_intrinsic", "match"}
_TYPES: Final[Mapping[str, Any]] = {  # of what stands as plain text or numbers in a prompt file
    "temperature": float,
    "top_p": float,
    "stop": tuple,
    "threshold": float,
    "score_map": ScoreMap,
    "text_to_critic": Layout,
    "newlines": Newlines,
    "unit": Unit,
    "negative_reward": float,
    "positive_reward": float,
    "neutral_reward": float,
    "match": Matching,
    "occurrence": Occurrence,
    "token_overlap": TokenOverlap,
    "vote": VoteRule,
    "on_error": OnError,
}


def settle(options: CriticOptions, prompt: Prompt, mode: Mode, label_weights: Mapping[str, float]) -> Settled:
    """Make every choice: the caller's, else the prompt's, else the house's.

    ``label_weights`` are those of the reply grammar.

    Raises ``Rejected`` for options that contradict each other, ``ValueError`` for a broken prompt file.
    """
    asked = {field.name: getattr(options, field.name) for field in fields(options)}
    given = _typed({name: value for name, value in asked.items() if value is not None})
    if "score_min" in given and "score_max" in given:
        given.setdefault("score_map", ScoreMap.LINEAR)
    by_prompt = _defaults_of(prompt, mode)
    chosen = {**_HOUSE, **by_prompt, **given}
    layers = (label_weights, by_prompt.get("label_weights", {}), given.get("label_weights", {}))
    chosen["label_weights"] = {
        label.casefold(): float(weight) for layer in layers for label, weight in layer.items()
    }
    released_preference = mode is Mode.COMPAT and chosen["score_map"] is ScoreMap.PREFERENCE
    chosen.setdefault("first_token_intrinsic", not released_preference)
    chosen.setdefault("match", Matching.OFFSET if mode is Mode.STRICT else Matching.SUBSTRING)
    settled = Settled(**chosen)
    _check_scale(settled)
    return settled


def _defaults_of(prompt: Prompt, mode: Mode) -> dict[str, Any]:
    defaults = {**prompt.defaults, **(prompt.compat if mode is Mode.COMPAT else {})}
    if unknown := defaults.keys() - _OF_PROMPTS:
        raise ValueError(f"prompt {prompt.name}: no such defaults {sorted(unknown)}")
    return _typed(defaults)


def _typed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _TYPES[name](value) if name in _TYPES else value for name, value in values.items()}


def _check_scale(options: Settled) -> None:
    if options.score_map is not ScoreMap.LINEAR:
        return
    if options.score_min is None or options.score_max is None or options.score_min >= options.score_max:
        raise Rejected(
            FailureKind.INVALID,
            "score_map `linear` needs score_min below score_max",
            pointer="/options/score_min",
        )
