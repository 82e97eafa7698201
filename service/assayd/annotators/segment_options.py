"""Every choice a caller has over ``/score/segment``: the wire embeds it, the recipe reports it (papers.md 5.5)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from annotated_types import Ge, Gt, Le

from ..domain.failure import FailureKind, Rejected
from ..domain.ports import Window
from .cutting import BoundaryMode, Cut, EntropyIndex, Segmenter
from .interpolation import Interpolation
from .normalizers import FLOOR_SHARE, Scale
from .options import AS_SENT, Mode, OnError


class Method(StrEnum):
    """Where the raw reward of a segment comes from.

    ``segment``: a segment reward model's head at its end (2501.02790). ``prefix_diff``: how much a reward model's
    score rises over it (RED, 2411.08302). ``attention``: its share of that score by the model's attention (ABC,
    2402.00782). ``implicit_prm``: the log-ratio of two language models (2412.01981).
    """

    SEGMENT = "segment"
    PREFIX_DIFF = "prefix_diff"
    ATTENTION = "attention"
    IMPLICIT_PRM = "implicit_prm"


class TokenizerPolicy(StrEnum):
    """What to do where a hosted model does not read the completion's token ids as the trainer does.

    ``transfer``: let it read the text in tokens of its own and bring places over by characters, and say so.
    ``require_same``: refuse the rollout as ``unaligned``.
    """

    TRANSFER = "transfer"
    REQUIRE_SAME = "require_same"


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentOptions:
    """Options of segment scoring. An absent option takes the default of the hosted model and the method."""

    __pydantic_config__: ClassVar[dict[str, Any]] = AS_SENT

    segmenter: Segmenter | None = None
    """What ends a segment: `entropy`, `sentence`, `step` (a line), or `fixed` (`segment_length` tokens)."""
    boundary_mode: BoundaryMode | None = None
    """`token` makes each token a segment, `bandit` the whole completion; the segmenter then has no say."""
    c_ent: Annotated[float, Ge(0)] | None = None
    """A segment ends behind a token whose next-token entropy (nats) is above this. Phi-3 1.75, Llama-3 2.0."""
    segment_length: Annotated[int, Ge(1)] | None = None
    """Tokens of a segment of the `fixed` segmenter; 32 when absent."""
    entropy_index: EntropyIndex = EntropyIndex.NEXT
    """What the rollouts' `entropies` are of: the distribution behind each token, or (`sampled`) before it."""
    return_entropies: bool = False
    """Send back the entropies that were cut by, as of the distribution behind each token."""

    normalizer: str | Scale | None = None
    """`none`, a shipped name, or coefficients. The service's own when absent; never a silent (0, 1)."""
    std_floor: Annotated[float, Gt(0)] | None = None
    """Smallest deviation to divide by, in raw units; a tenth of the deviation at the end when absent."""
    interpolation: Interpolation = Interpolation.EVEN
    """How a segment's reward reaches its tokens: `even` (sums are conserved), `repeat`, `last`."""
    length_norm: bool = False
    """Divide every token's reward by the number of tokens that the policy wrote."""
    clamp: tuple[float, float] | None = (-10.0, 10.0)
    """Bounds of a token's reward, applied after the interpolation; null for none."""
    end_penalty: Annotated[float, Le(0)] | None = None
    """Every token's reward where the completion was truncated or is longer than `len_threshold`; the paper: -0.05."""
    len_threshold: Annotated[int, Ge(1)] | None = None
    """Most tokens without the end penalty; 800 when absent."""

    alpha_ext: float = 1.0
    """Weight of the extrinsic reward, which goes to the last real token."""
    alpha_int: float = 1.0
    """Weight of the intrinsic rewards."""

    beta: Annotated[float, Gt(0)] | None = None
    """Scale of the implicit reward; 0.05 when absent. For method `implicit_prm`."""
    max_length: Annotated[int, Ge(1)] | None = None
    """Most tokens of prompt and completion; more is `too_long`. What the model holds when absent."""
    max_prompt_length: Annotated[int, Ge(1)] | None = None
    """A longer prompt loses its left part, in the model's tokens; 1728 when absent, as in the paper."""
    tokenizer_policy: TokenizerPolicy = TokenizerPolicy.TRANSFER
    """What to do where a model does not read the token ids as the trainer does."""
    on_error: OnError = OnError.FAIL
    """`zero` gives a failed rollout rewards of 0; its status stays failed."""


LEN_THRESHOLD: Final = 800
MAX_PROMPT_LENGTH: Final = 1728
BETA: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The same options with every choice made: what the recipe records."""

    cut: Cut
    entropy_index: EntropyIndex
    return_entropies: bool
    scale: Scale
    std_floor: float | None
    interpolation: Interpolation
    length_norm: bool
    clamp: tuple[float, float] | None
    end_penalty: float | None
    len_threshold: int
    alpha_ext: float
    alpha_int: float
    beta: float | None
    max_length: int | None
    max_prompt_length: int
    tokenizer_policy: TokenizerPolicy
    on_error: OnError

    @property
    def window(self) -> Window:
        """What a model may be shown."""
        return Window(
            self.max_length,
            self.max_prompt_length,
            transfer=self.tokenizer_policy is TokenizerPolicy.TRANSFER,
        )


def settle_cut(options: SegmentOptions, method: Method, default: Cut) -> Cut:
    """The caller's way to cut on top of ``default``, the hosted model's.

    Methods that pay single tokens cut token by token, unless the caller names a segmenter. In token and bandit mode
    the segmenter and its numbers have no say. Raises ``Rejected`` for numbers of another segmenter.
    """
    named = options.segmenter is not None or options.c_ent is not None or options.segment_length is not None
    mode = options.boundary_mode
    if mode is None:
        by_token = method is not Method.SEGMENT and not named
        mode = BoundaryMode.TOKEN if by_token else BoundaryMode.SEGMENT if named else default.boundary_mode
    segmenter = options.segmenter or (Segmenter.ENTROPY if options.c_ent is not None else default.segmenter)
    for field, owner in (("c_ent", Segmenter.ENTROPY), ("segment_length", Segmenter.FIXED)):
        if getattr(options, field) is not None and segmenter is not owner:
            detail = f"{field} is for the `{owner}` segmenter, this is `{segmenter}`"
            raise Rejected(FailureKind.INVALID, detail, pointer=f"/options/{field}")
    return Cut(
        segmenter=segmenter,
        boundary_mode=mode,
        c_ent=default.c_ent if options.c_ent is None else options.c_ent,
        segment_length=options.segment_length or default.segment_length,
    ).settled


def settle(options: SegmentOptions, method: Method, mode: Mode, *, cut: Cut, scale: Scale) -> Settled:
    """Make every other choice; ``cut`` and ``scale`` have been made. Raises ``Rejected`` for contradictions."""
    _check(options, method, mode, cut)
    floor = options.std_floor
    if floor is None and mode is Mode.STRICT:
        floor = _floor_of(scale)
    return Settled(
        cut=cut,
        entropy_index=options.entropy_index,
        return_entropies=options.return_entropies,
        scale=scale,
        std_floor=floor,
        interpolation=Interpolation(options.interpolation),
        length_norm=options.length_norm,
        clamp=options.clamp,
        end_penalty=options.end_penalty,
        len_threshold=options.len_threshold or LEN_THRESHOLD,
        alpha_ext=options.alpha_ext,
        alpha_int=options.alpha_int,
        beta=(options.beta or BETA) if method is Method.IMPLICIT_PRM else None,
        max_length=options.max_length,
        max_prompt_length=options.max_prompt_length or MAX_PROMPT_LENGTH,
        tokenizer_policy=options.tokenizer_policy,
        on_error=options.on_error,
    )


def _check(options: SegmentOptions, method: Method, mode: Mode, cut: Cut) -> None:
    def refuse(field: str, detail: str) -> None:
        raise Rejected(FailureKind.INVALID, detail, pointer=f"/options/{field}")

    if mode is Mode.COMPAT and method is not Method.SEGMENT:
        raise Rejected(
            FailureKind.INVALID, "compat mode imitates the segment paper's code only", pointer="/mode"
        )
    if options.clamp is not None and options.clamp[0] > options.clamp[1]:
        refuse("clamp", "clamp needs its lower bound first")
    if options.len_threshold is not None and options.end_penalty is None:
        refuse("len_threshold", "len_threshold does nothing without end_penalty")
    if options.beta is not None and method is not Method.IMPLICIT_PRM:
        refuse("beta", "beta is for method implicit_prm")
    by_token = cut.boundary_mode is BoundaryMode.TOKEN or (cut.needs_entropies and cut.c_ent == 0)
    even = options.interpolation == Interpolation.EVEN
    if options.length_norm and mode is Mode.COMPAT and not (by_token and even):
        refuse("length_norm", "the released code divides by length only token by token and with `even`")


def _floor_of(scale: Scale) -> float:
    _, std = scale.moments(1.0)
    if std <= 0:
        detail = "this normalizer's deviation is not above zero even at the end: give options.std_floor"
        raise Rejected(FailureKind.INVALID, detail, pointer="/options/std_floor")
    return FLOOR_SHARE * std
