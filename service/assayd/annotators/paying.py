"""What every annotator that pays tokens does alike, whoever judges: refuse, carry zeros, add the trainer's reward."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from ..domain.failure import AnnotationFailed, FailureKind
from ..domain.rollout import Rollout
from .options import OnError
from .scoring import combine, last_real_token


class Shares(Protocol):
    """How much of a token's reward is the trainer's, and how much ours."""

    @property
    def alpha_ext(self) -> float:
        """Weight of the extrinsic reward."""
        ...

    @property
    def alpha_int(self) -> float:
        """Weight of the intrinsic rewards."""
        ...


def token_of_outcome(rollout: Rollout) -> int:
    """The token that carries the extrinsic reward; ``AnnotationFailed`` (``empty``) where the policy wrote none."""
    last = last_real_token(rollout.completion)
    if last is None:
        raise AnnotationFailed(
            FailureKind.EMPTY, "the policy wrote no token of the completion", rewards=zeros(rollout)
        )
    return last


@contextmanager
def failing_as(on_error: OnError, rollout: Rollout) -> Iterator[None]:
    """A failure inside carries zeros where the caller asked for them."""
    try:
        yield
    except AnnotationFailed as failure:
        if on_error is OnError.FAIL:
            raise
        raise failure.restated(rewards=zeros(rollout)) from failure


def with_outcome(
    intrinsic: tuple[float, ...], rollout: Rollout, last: int, shares: Shares
) -> tuple[float, ...]:
    """The rewards that go out: the intrinsic ones, and the trainer's own on token ``last``."""
    return combine(
        intrinsic,
        extrinsic=rollout.extrinsic if rollout.outcome is None else rollout.outcome,
        last=last,
        alpha_int=shares.alpha_int,
        alpha_ext=shares.alpha_ext,
    )


def zeros(rollout: Rollout) -> tuple[float, ...]:
    """A reward of 0 for every token."""
    return (0.0,) * len(rollout.completion)
