"""LLaMA-Factory's PPO: ``reward_model_type: api``, ``reward_model: http://host:8000/v1/score/evaluation``.

Its client looks at no status, reads ``scores`` and makes one tensor of them: an error stops it with a KeyError, a null
in the list with a TypeError, and a NaN would go into the loss. So a batch with a rollout that could not be judged fails
as a whole, whatever the settings say.
"""

import uuid

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ..body import read_body
from ..house import house_of
from ..openapi import documented
from .foreign import Foreign, answer, refuse_option
from .inputs import in_text
from .paying import pay

router = APIRouter()


class ScoreEvaluationRequest(Foreign):
    """Conversations to reward, each one text with its special tokens."""

    model: str = "model"
    messages: tuple[str, ...]
    max_length: int | None = None


class ScoreEvaluationResponse(msgspec.Struct, frozen=True):
    """One number per text."""

    id: str
    object: str
    model: str
    scores: list[float]


@router.post("/v1/score/evaluation", **documented((ScoreEvaluationRequest,), (ScoreEvaluationResponse,)))
async def score_evaluation(request: Request) -> Response:
    """Reward completions for LLaMA-Factory: what stands behind the chat template's marker in each text."""
    house = house_of(request)
    body = await read_body(request, ScoreEvaluationRequest)
    refuse_option("max_length", body.max_length, "nothing is cut to a length")
    bill = await pay(request, [in_text(text, house.settings) for text in body.messages])
    scores = [one.reward for one in bill.paid()]
    name = f"scoreval-{uuid.uuid4().hex}"
    return answer(ScoreEvaluationResponse(name, "score.evaluation", body.model, scores), bill)
