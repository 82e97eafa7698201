"""Every choice a caller has over ``/score/token`` by method ``grm`` (papers.md 5.3)."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final

from annotated_types import Ge, Le

from ...domain.failure import FailureKind, Rejected
from ...domain.ports import Window
from ..options import AS_SENT, OnError
from ..rewriting.options import Verify
from ..segment_options import TokenizerPolicy

METHOD: Final = "grm"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOptions:
    """Options of token rewards by a rewriter's probabilities."""

    __pydantic_config__: ClassVar[dict[str, Any]] = AS_SENT

    center: Annotated[float, Ge(0), Le(1)] = 0.5
    """The probability that is worth nothing."""
    clip_correct: tuple[float, float] = (0.0, 0.5)
    """Bounds of a token's reward in a solution that is right."""
    clip_incorrect: tuple[float, float] = (-0.1, 0.0)
    """Bounds of a token's reward in a solution that is wrong."""
    verify: Verify | None = field(default_factory=Verify)
    """How the answer is compared where a rollout does not say `correct`; null: it has to say so."""
    score_eos: bool = True
    """Reward the end marker too; a truncated completion has none."""
    return_ref_logprobs: bool = True
    """Send the reference policy's log-probabilities along, where the service has such a model."""
    max_tokens: Annotated[int, Ge(1)] = 2000
    """Most tokens of the rewriter's prompt and the completion; more is `too_long`. Nothing is ever cut."""
    tokenizer_policy: TokenizerPolicy = TokenizerPolicy.REQUIRE_SAME
    """`transfer` is an experiment: the rewriter reads tokens of its own.

    A policy token's probability is then the mean over its characters; reference log-probabilities keep their sum."""
    alpha_ext: float = 1.0
    """Weight of the extrinsic reward, which goes to the last real token."""
    alpha_int: float = 1.0
    """Weight of the intrinsic rewards."""
    on_error: OnError = OnError.FAIL
    """`zero` gives a failed rollout rewards of 0; its status stays failed."""

    @property
    def window(self) -> Window:
        """What the rewriter may be shown."""
        return Window(self.max_tokens, transfer=self.tokenizer_policy is TokenizerPolicy.TRANSFER)


def check(options: ProbeOptions) -> None:
    """Raise ``Rejected`` for bounds that are the wrong way round."""
    for name in ("clip_correct", "clip_incorrect"):
        low, high = getattr(options, name)
        if low > high:
            raise Rejected(
                FailureKind.INVALID, f"{name} needs its lower bound first", pointer=f"/options/{name}"
            )
