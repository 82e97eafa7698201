"""The judging routes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import msgspec
import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ..annotators.normalizers import Moments, normalized, updated
from ..domain.annotation import TokenAnnotation
from ..domain.failure import Failure, RecipeChanged
from ..domain.ports import Deadline
from ..domain.provenance import ModelRef, Recipe
from ..domain.rollout import Rollout
from ..pipeline import Judged
from .answers import (
    TokenBatch,
    TokenFailed,
    TokenJudged,
    TokenResponse,
    recipe_answer,
    token_failed,
    token_judged,
)
from .body import read_body, while_connected
from .house import House, house_of
from .openapi import documented
from .schemas import TokenRequest, WireTokenizer

REWARD_MATCH: Final = "If-Reward-Match"

router = APIRouter()


@dataclass(frozen=True, slots=True)
class _Item:
    """One rollout of the request: what it is called and what came of aligning it."""

    id: str
    rollout: Rollout | Failure


@router.post("/score/token", tags=["judge"], **documented(TokenRequest, TokenResponse))
async def score_token(request: Request) -> Response:
    """Give every token of every completion a reward and a reason.

    A critic language model marks spans of the completion; the spans become token rewards (RELC, 2401.07382).
    Each rollout is judged on its own: one that fails says so with its kind, and the others go on.
    """
    house = house_of(request)
    body = await read_body(request, TokenRequest, max_mb=house.settings.server.max_body_mb)
    deadline = Deadline.after(body.timeout_s or house.settings.server.default_timeout_s)
    tokenizer = await _tokenizer(house, body.tokenizer)
    annotator = await house.critic(body.task, body.mode, body.options, tokenizer)
    _check_pin(request, annotator.recipe)
    outcomes, moments = _outcomes(body)
    items = await _align(house, body, outcomes, tokenizer)
    results = await while_connected(
        request,
        house.pipeline.run(annotator, TokenAnnotation, [item.rollout for item in items], deadline),
    )
    structlog.contextvars.bind_contextvars(
        task=body.task.value,
        rollouts=len(results),
        failed=sum(isinstance(result, Failure) for result in results),
    )
    answer = TokenResponse(
        results=[_answer(item, result) for item, result in zip(items, results, strict=True)],
        recipe=recipe_answer(annotator.recipe),
        batch=msgspec.UNSET if moments is None else TokenBatch(asdict(moments)),
    )
    return Response(msgspec.json.encode(answer), media_type="application/json")


def _answer(item: _Item, result: Judged[TokenAnnotation] | Failure) -> TokenJudged | TokenFailed:
    if isinstance(result, Failure):
        return token_failed(item.id, result)
    if isinstance(item.rollout, Failure):
        raise TypeError("a rollout that was never aligned came back judged")
    return token_judged(item.id, item.rollout, result.annotation, result.provenance)


async def _tokenizer(house: House, wire: WireTokenizer | None) -> ModelRef | None:
    return None if wire is None else await house.tokenizer(wire.name, wire.revision)


def _check_pin(request: Request, recipe: Recipe) -> None:
    pinned = request.headers.get(REWARD_MATCH)
    if pinned is not None and pinned.strip('" ') != recipe.id:
        raise RecipeChanged(pinned, recipe.id)


def _outcomes(body: TokenRequest) -> tuple[Sequence[float | None], Moments | None]:
    """Each rollout's extrinsic reward as it joins the tokens, and the moments for the caller's next call."""
    if body.extrinsic_normalizer is None:
        return [None] * len(body.rollouts), None
    rewards = [wire.extrinsic_reward for wire in body.rollouts]
    known = [reward for reward in rewards if reward is not None]
    moments = updated(Moments(**body.extrinsic_normalizer.model_dump()), known, body.mode)
    scaled = iter(normalized(known, moments))
    return [None if reward is None else next(scaled) for reward in rewards], moments


async def _align(
    house: House, body: TokenRequest, outcomes: Sequence[float | None], tokenizer: ModelRef | None
) -> list[_Item]:
    completions = await house.align([wire.raw_completion for wire in body.rollouts], tokenizer)
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
        )
        items.append(_Item(name, rollout))
    return items
