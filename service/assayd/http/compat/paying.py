"""From rollouts to what a foreign format wants to hear: rewards by token, one number, or why there is none."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import fsum
from typing import Any, Final, TypeVar

import msgspec
from pydantic import TypeAdapter
from starlette.requests import Request

from ...annotators.options import CriticOptions, Mode
from ...annotators.probing import ProbeOptions
from ...annotators.scoring import is_masked
from ...annotators.segment_options import Method, SegmentOptions
from ...annotators.sequence import SequenceOptions
from ...domain.annotation import SegmentAnnotation, TokenAnnotation
from ...domain.failure import Failure, FailureKind, Rejected
from ...domain.provenance import Provenance, Usage
from ...domain.rewriting import ProbeAnnotation
from ...domain.rollout import Rollout
from ...domain.sequence import SequenceAnnotation
from ...settings import CompatSettings
from ..answers import Unjudged
from ..errors import STATUS
from ..house import House, house_of
from ..judging import Judgement, judge
from ..schemas import (
    ProbeRequest,
    SegmentRequest,
    SequenceRequest,
    Task,
    TokenRequest,
    WireRollout,
    WireTokenizer,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Paid:
    """What one completion is worth: ``reward`` as a whole, ``rewards`` token by token (None: as a whole only).

    ``offsets`` are the characters of those tokens, half-open.
    """

    reward: float
    rewards: tuple[float, ...] | None
    offsets: tuple[tuple[int, int], ...] | None
    usage: Usage


@dataclass(frozen=True, slots=True)
class Bill:
    """One outcome a rollout, in order, and the recipe they were judged by (None: nothing was judged)."""

    outcomes: tuple[Paid | Failure, ...]
    recipe: str | None

    def paid(self) -> list[Paid]:
        """Everything paid; raises ``Rejected`` where a rollout could not be judged, never a number in its place.

        A failure that stays, whatever is tried again, leads: its status tells a client to give up.
        """
        failures = [(i, one) for i, one in enumerate(self.outcomes) if isinstance(one, Failure)]
        if not failures:
            return [one for one in self.outcomes if isinstance(one, Paid)]
        index, worst = min(failures, key=lambda failure: STATUS.get(failure[1].kind, 422))
        where = "" if len(self.outcomes) == 1 else f"rollout {index} of {len(self.outcomes)}: "
        raise Rejected(worst.kind, f"{where}{worst.detail}", retry_after_s=worst.retry_after_s)

    @property
    def usage(self) -> Usage:
        """What it all cost."""
        return sum((one.usage for one in self.outcomes if isinstance(one, Paid)), Usage())


async def pay(request: Request, asked: Sequence[WireRollout | Failure]) -> Bill:
    """Judge the rollouts as the settings say; what arrives as a failure stays one. Raises ``Rejected``."""
    rollouts = tuple(one for one in asked if isinstance(one, WireRollout))
    if not rollouts:
        return Bill(tuple(one for one in asked if isinstance(one, Failure)), None)
    house = house_of(request)
    judged = await _judge(request, house, rollouts)
    results = iter(judged.results)
    outcomes = [one if isinstance(one, Failure) else _outcome(next(results)) for one in asked]
    return Bill(tuple(outcomes), judged.recipe.id)


def check(settings: CompatSettings) -> None:
    """Raise ``ValueError`` for settings of which no call could ever be made."""
    _body(settings, (WireRollout.model_validate({"completion": {}}),))


def tokens_wanted(settings: CompatSettings) -> None:
    """Raise ``Rejected`` where whoever judges has no rewards for tokens."""
    if settings.method == "sequence":
        raise Rejected(
            FailureKind.INVALID,
            "compat.method is `sequence`, which rewards completions and not their tokens: for rewards by token set "
            "ASSAY_COMPAT__METHOD to one that pays them, `segment` for example",
        )


def _body(
    settings: CompatSettings, rollouts: tuple[WireRollout, ...]
) -> TokenRequest | ProbeRequest | SegmentRequest | SequenceRequest:
    """The call that Assay's own routes would have got."""
    name = settings.tokenizer
    tokenizer = None if name is None else WireTokenizer(name=name, revision=settings.tokenizer_revision)
    match settings.method:
        case "critic":
            return TokenRequest(
                task=Task(settings.task),
                options=_options(CriticOptions, settings.options),
                rollouts=rollouts,
                tokenizer=tokenizer,
            )
        case "grm":
            options = _options(ProbeOptions, settings.options)
            return ProbeRequest(method="grm", options=options, rollouts=rollouts, tokenizer=tokenizer)
        case "sequence":
            whole = _options(SequenceOptions, settings.options)
            return SequenceRequest(options=whole, rollouts=rollouts, tokenizer=tokenizer)
        case method:
            cut = _options(SegmentOptions, settings.options)
            return SegmentRequest(method=Method(method), options=cut, rollouts=rollouts, tokenizer=tokenizer)


def _options(kind: type[T], options: Mapping[str, Any]) -> T:
    made: T = _adapter(kind).validate_json(msgspec.json.encode(options))  # type: ignore[arg-type]  # classes are hashable
    return made


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    """Made once: 30 ms, for it reads the source of its kind to learn what the fields mean."""
    return TypeAdapter(kind)


async def _judge(request: Request, house: House, rollouts: tuple[WireRollout, ...]) -> Judgement[Paid]:
    settings = house.settings.compat
    body = _body(settings, rollouts)
    paid = _by_token(AGGREGATIONS[settings.aggregation])
    if isinstance(body, TokenRequest):
        task, marks = body.task, body.options
        return await judge(
            request, body, lambda by: house.critic(task, Mode.STRICT, marks, by), TokenAnnotation, paid
        )
    if isinstance(body, ProbeRequest):
        asked = body.options
        return await judge(
            request, body, lambda by: house.prober(Mode.STRICT, asked, by), ProbeAnnotation, paid
        )
    if isinstance(body, SegmentRequest):
        method, cut = body.method, body.options
        return await judge(
            request,
            body,
            lambda by: house.segment_scorer(method, Mode.STRICT, cut, by),
            SegmentAnnotation,
            paid,
            house.segment_tokenizer,
        )
    whole = body.options
    return await judge(
        request,
        body,
        lambda by: house.sequence_scorer(Mode.STRICT, whole, by),
        SequenceAnnotation,
        _as_a_whole,
        house.sequence_tokenizer,
    )


def _by_token(
    aggregate: Callable[[Sequence[float]], float],
) -> Callable[[str, Rollout, TokenAnnotation | SegmentAnnotation | ProbeAnnotation, Provenance], Paid]:
    def paid(
        _: str,
        rollout: Rollout,
        annotation: TokenAnnotation | SegmentAnnotation | ProbeAnnotation,
        provenance: Provenance,
    ) -> Paid:
        completion = rollout.completion
        own = [reward for i, reward in enumerate(annotation.rewards) if not is_masked(completion, i)]
        spans = completion.alignment.token_spans
        offsets = tuple((span.start, span.end) for span in spans)
        return Paid(aggregate(own) + 0.0, annotation.rewards, offsets, provenance.usage)

    return paid


def _as_a_whole(_: str, rollout: Rollout, annotation: SequenceAnnotation, provenance: Provenance) -> Paid:
    return Paid(annotation.reward, None, None, provenance.usage)


def _outcome(result: Paid | Unjudged) -> Paid | Failure:
    if isinstance(result, Paid):
        return result
    return Failure(FailureKind(result.failure.kind), result.failure.detail)


AGGREGATIONS: Final[Mapping[str, Callable[[Sequence[float]], float]]] = {
    "sum": fsum,
    "mean": lambda rewards: fsum(rewards) / len(rewards),
    "last": lambda rewards: rewards[-1],
    "min": min,
}
"""From the rewards of the tokens that the policy wrote, at least one, to one number."""
