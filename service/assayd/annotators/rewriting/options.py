"""Every choice a caller has over ``/rewrite``: the wire embeds it, the recipe reports it (papers.md 5.4)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from annotated_types import Ge, Gt, Le, MinLen

from ...domain.failure import FailureKind, Rejected
from ..options import AS_SENT, Mode
from ..prompting import Prompt


class Method(StrEnum):
    """What guides the correction.

    ``rewrite``: a reference solution (RLMEC, 2401.06081). ``critique``: the remarks of the critic, and no reference
    (after Critique-GRPO, 2506.03106).
    """

    REWRITE = "rewrite"
    CRITIQUE = "critique"


class VerifyMode(StrEnum):
    """How final answers are compared: as mathematics, as words, or by a function of the one who runs the service."""

    MATH = "math"
    QA = "qa"
    HOOK = "hook"


class Row(StrEnum):
    """Training rows in the shapes of the paper's released code (papers.md 3.1 to 3.3)."""

    RECORD = "record"
    GRM = "grm"
    RLMEC = "rlmec"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """How a rewrite is checked against the reference."""

    __pydantic_config__: ClassVar[dict[str, Any]] = AS_SENT

    mode: VerifyMode = VerifyMode.MATH
    """`math` compares numbers, fractions and LaTeX, `qa` words, `hook` asks the function in the settings."""
    tol: Annotated[float, Ge(0), Le(1)] = 1e-4
    """Largest difference between equal numbers, absolute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Imitation weights of the rewrite's tokens."""

    __pydantic_config__: ClassVar[dict[str, Any]] = AS_SENT

    keep: Annotated[float, Ge(0)] = 0.5
    """Of a token that stands in the prediction too."""
    changed: Annotated[float, Ge(0)] = 1.0
    """Of a token that the rewrite put in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewriteOptions:
    """Options of rewriting. An absent option takes the default of the prompt."""

    __pydantic_config__: ClassVar[dict[str, Any]] = AS_SENT

    locate: bool = True
    """Ask for the first wrong step first. False: the whole solution is written anew."""
    step_split: Annotated[str, MinLen(1)] = "\n"
    """What ends a step. Labels and the kept prefix go by it."""
    label_base: Annotated[int, Ge(0), Le(1)] = 0
    """The label of the first step."""
    prefill_before_error: bool = True
    """Write what stands before the first wrong step for the rewriter, so that it cannot change it."""
    max_tokens: Annotated[int, Ge(1)] | None = None
    """Longest rewrite, without the kept prefix. The paper: 350 for its teacher, 2048 for its rewriter."""
    temperature: Annotated[float, Ge(0)] | None = None
    """0 is greedy. Above 0 without `seed`, nothing is cached."""
    top_p: Annotated[float, Gt(0), Le(1)] | None = None
    """Nucleus of the sampling; moot at temperature 0."""
    seed: Annotated[int, Ge(0), Le(2**32 - 1)] | None = None
    """Seed of the first rewrite; number `i` uses `seed + i`."""
    n: Annotated[int, Ge(1), Le(64)] = 1
    """Rewrites per rollout. The verified one with the fewest changes is taken; they differ at a temperature only."""
    verify: Verify | None = field(default_factory=Verify)
    """How rewrites are checked; null: they are not, and `verified` is null but for a wrong solution left as it is."""
    copy_if_correct: bool = True
    """A solution that is right is its own rewrite, and no model is asked."""
    weights: Weights = field(default_factory=Weights)
    """Imitation weights; compat mode gives them to the tokens that the released code marks."""
    max_edit_ratio: Annotated[float, Ge(0), Le(1)] | None = None
    """A rewrite that changes a larger share of the tokens fails: it is none of the minimum kind."""
    rows: tuple[Row, ...] = ()
    """Training rows to send along: `record` (eight fields), `grm` (locate, rewrite, copy), `rlmec` (six fields).

    Only verified rewrites have `grm` and `rlmec` rows. The latter need a rewriter that weighs tokens, a reference
    policy, the policy's tokenizer, and a completion whose text reads back as its tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled(RewriteOptions):
    """The same options with every choice made: what the recipe records."""

    max_tokens: int
    locate_max_tokens: int
    temperature: float
    top_p: float


_HOUSE: Final[Mapping[str, Any]] = {"max_tokens": 2048, "temperature": 0.0, "top_p": 0.95}
_LOCATE_MAX_TOKENS: Final = 512


def settle(
    options: RewriteOptions, method: Method, mode: Mode, *, locate: Prompt | None, fix: Prompt
) -> Settled:
    """Make every choice: the caller's, else the prompt's, else the house's.

    Raises ``Rejected`` for options that contradict each other, ``ValueError`` for a broken prompt file.
    """
    for prompt in (locate, fix):
        if prompt is not None and (unknown := prompt.defaults.keys() - _HOUSE):
            raise ValueError(f"prompt {prompt.name}: no such defaults {sorted(unknown)}")
    _check(options, method, mode)
    asked = {entry.name: getattr(options, entry.name) for entry in fields(options)}
    given = {name: value for name, value in asked.items() if value is not None or name not in _HOUSE}
    own_length = (
        _LOCATE_MAX_TOKENS if locate is None else locate.defaults.get("max_tokens", _LOCATE_MAX_TOKENS)
    )
    return Settled(**{**_HOUSE, **fix.defaults, **given, "locate_max_tokens": own_length})


def _check(options: RewriteOptions, method: Method, mode: Mode) -> None:
    def refuse(name: str, detail: str) -> None:
        raise Rejected(FailureKind.INVALID, detail, pointer=f"/{name}")

    if mode is Mode.COMPAT and method is not Method.REWRITE:
        refuse("mode", "compat mode imitates the code of RLMEC, which needs a reference")
    if mode is Mode.COMPAT and (options.step_split != "\n" or options.label_base != 0):
        refuse("options", "in compat mode steps are lines, and labels count from 0")
    if method is Method.CRITIQUE and options.rows:
        refuse("options/rows", "rows are those of RLMEC, which rewrites by a reference")
