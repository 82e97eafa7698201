"""What every judging route does: read the call, align its completions, run the annotator."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Generic, TypeVar

import msgspec
import structlog
from starlette.requests import Request

from ..annotators.extrinsic import Moments, normalized, updated
from ..domain.failure import Failure, FailureKind, Rejected
from ..domain.ports import Annotation, Annotator, Deadline
from ..domain.provenance import ModelRef, Provenance
from ..domain.rollout import Completion, Rollout
from ..pipeline import Judged
from .answers import Batch, Unjudged, WireRecipe, recipe_answer, unjudged
from .body import kind_of, while_connected
from .bounds import oversized
from .entry import entry_of
from .house import House, house_of
from .pinning import check_pin
from .schemas import JudgeRequest, WireRollout

A = TypeVar("A", bound=Annotation)
W = TypeVar("W")
Answered = Callable[[str, Rollout, A, Provenance], W]

_LOADING_S: Final = 5.0
"""When a tokenizer that was not loaded in time may have been."""


@dataclass(frozen=True, slots=True)
class Judgement(Generic[W]):
    """What a route answers: one result per rollout, by which recipe, and what goes into the next call."""

    results: list[W | Unjudged]
    recipe: WireRecipe
    batch: Batch | msgspec.UnsetType


@dataclass(frozen=True, slots=True)
class _Item:
    """One rollout of the request: what it is called and what came of aligning it."""

    id: str
    rollout: Rollout | Failure


async def judge(
    request: Request,
    body: JudgeRequest,
    annotator_for: Callable[[ModelRef | None], Awaitable[Annotator[A]]],
    kind: type[A],
    answered: Answered[A, W],
    own_tokenizer: tuple[str, str | None] | None = None,
) -> Judgement[W]:
    """Judge every rollout of ``body``.

    ``annotator_for`` gives the annotator under the policy tokenizer of the call, ``answered`` the wire shape of one
    annotation, ``own_tokenizer`` what cuts texts that come without tokens, if not the service's own. Raises
    ``Rejected`` when the call as a whole is refused.
    """
    house, entry = house_of(request), entry_of(request)
    deadline = entry.deadline(body.timeout_s, default_s=house.settings.server.default_timeout_s)
    tokenizer = await _tokenizer(house, body, deadline)
    annotator = await annotator_for(tokenizer)
    check_pin(request, annotator.recipe)
    _refuse_hopeless(request, body, annotator, deadline)
    outcomes, moments = _outcomes(body)
    completions = await _aligned(house, body.rollouts, tokenizer, own_tokenizer, deadline)
    items = _items(body, outcomes, completions)
    results = await while_connected(
        request,
        house.pipeline.run(annotator, kind, [item.rollout for item in items], deadline, entry.visitor),
    )
    _refuse_outage(request, results, deadline)
    structlog.contextvars.bind_contextvars(
        method=annotator.recipe.method,
        task=annotator.recipe.task,
        rollouts=len(results),
        failed=sum(isinstance(result, Failure) for result in results),
    )
    return Judgement(
        [_answer(item, result, answered) for item, result in zip(items, results, strict=True)],
        recipe_answer(annotator.recipe),
        msgspec.UNSET if moments is None else Batch(asdict(moments)),
    )


async def _tokenizer(house: House, body: JudgeRequest, deadline: Deadline) -> ModelRef | None:
    """The policy's, loaded; it is read on behind the deadline, for the next call."""
    wire = body.tokenizer
    if wire is None:
        return None
    try:
        async with asyncio.timeout(max(deadline.remaining_s, 0.0)):
            return await house.tokenizer(wire.name, wire.revision)
    except TimeoutError:
        raise Rejected(
            FailureKind.PAST_DEADLINE,
            f"the deadline of the call passed before the tokenizer {wire.name!r} was loaded",
            pointer="/tokenizer",
            retry_after_s=_LOADING_S,
        ) from None


async def _aligned(
    house: House,
    rollouts: Sequence[WireRollout],
    tokenizer: ModelRef | None,
    own: tuple[str, str | None] | None,
    deadline: Deadline,
) -> list[Completion | Failure]:
    """The completions of those that are not too long, as far as time allows.

    Aligning goes on in its thread behind the deadline, but nobody waits for it.
    """
    refused = [oversized(rollout, house.settings.server) for rollout in rollouts]
    fitting = [one.raw_completion for one, failure in zip(rollouts, refused, strict=True) if failure is None]
    try:
        async with asyncio.timeout(max(deadline.remaining_s, 0.0)):
            aligned = iter(await house.align(fitting, tokenizer, own=own))
    except TimeoutError:
        late = Failure(
            FailureKind.PAST_DEADLINE,
            "the deadline of the call passed before its tokens and texts were aligned",
        )
        return [failure or late for failure in refused]
    return [failure or next(aligned) for failure in refused]


def _refuse_hopeless(
    request: Request, body: JudgeRequest, annotator: Annotator[A], deadline: Deadline
) -> None:
    """End a call of which not even the easiest rollout would be judged in time, before anything is done about it."""
    tokens = min(rollout.raw_completion.estimated_tokens for rollout in body.rollouts)
    weighed = any(rollout.entropies is not None for rollout in body.rollouts)
    rewarded = any(rollout.extrinsic_reward is not None for rollout in body.rollouts)
    try:
        house_of(request).pipeline.refuse_hopeless(
            annotator, tokens, deadline, weighed=weighed, rewarded=rewarded
        )
    except Rejected as refusal:
        _remember(request, deadline.at_s + (refusal.retry_after_s or 0.0))
        raise


def _refuse_outage(request: Request, results: Sequence[object], deadline: Deadline) -> None:
    """End a call of which nothing can be judged while an engine is down or overloaded: it may come again as a whole."""
    failures = [result for result in results if isinstance(result, Failure)]
    waits_s = [failure.retry_after_s for failure in failures if failure.retry_after_s is not None]
    if not results or len(waits_s) < len(results):
        return
    kind = failures[0].kind
    if kind is FailureKind.OVERLOADED:
        _remember(request, deadline.at_s + min(waits_s))
    raise Rejected(kind, failures[0].detail, retry_after_s=max(waits_s))


def _remember(request: Request, served_at_s: float) -> None:
    house_of(request).doorkeeper.remember(kind_of(request), served_at_s)


def _answer(item: _Item, result: Judged[A] | Failure, answered: Answered[A, W]) -> W | Unjudged:
    if isinstance(result, Failure):
        return unjudged(item.id, result)
    if isinstance(item.rollout, Failure):
        raise TypeError("a rollout that was never aligned came back judged")
    return answered(item.id, item.rollout, result.annotation, result.provenance)


def _outcomes(body: JudgeRequest) -> tuple[Sequence[float | None], Moments | None]:
    """Each rollout's extrinsic reward as it joins the tokens, and the moments for the caller's next call."""
    if body.extrinsic_normalizer is None:
        return [None] * len(body.rollouts), None
    rewards = [wire.extrinsic_reward for wire in body.rollouts]
    known = [reward for reward in rewards if reward is not None]
    moments = updated(Moments(**body.extrinsic_normalizer.model_dump()), known, body.mode)
    scaled = iter(normalized(known, moments))
    return [None if reward is None else next(scaled) for reward in rewards], moments


def _items(
    body: JudgeRequest, outcomes: Sequence[float | None], completions: Sequence[Completion | Failure]
) -> list[_Item]:
    items = []
    for index, (wire, outcome, completion) in enumerate(
        zip(body.rollouts, outcomes, completions, strict=True)
    ):
        name = str(index) if wire.id is None else wire.id
        if isinstance(completion, Failure):
            items.append(_Item(name, completion))
            continue
        rollout = Rollout(
            id=name,
            prompt=wire.messages,
            completion=completion,
            extrinsic=wire.extrinsic_reward,
            outcome=outcome,
            reference=wire.reference,
            correct=wire.correct,
            entropies=wire.entropies,
            value=wire.value,
            group=wire.group,
        )
        items.append(_Item(name, _misfit(wire, len(completion)) or rollout))
    return items


def _misfit(wire: WireRollout, tokens: int) -> Failure | None:
    if wire.entropies is None or len(wire.entropies) == tokens:
        return None
    return Failure(FailureKind.UNALIGNED, f"{len(wire.entropies)} entropies but {tokens} tokens")
