"""NeMo-Gym's resources server: ``/verify``, and the two routes that its agents call around it.

The last message of the assistant is the completion; what was said before it, calls of tools included, is its prompt.

A rollout that could not be judged is an HTTP error, which Gym's agent raises and NeMo-RL tries again. With
``on_failure = null`` the answer says so in the words that both know: ``_ng_failure_class`` keeps the row out of Gym's
results, ``instance_config.mask_sample`` takes the sample out of NeMo-RL's loss. The format demands a number beside
these, so 0.0 stands there, and in the mean of its group, which NeMo-RL does not mask.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from math import fsum
from typing import Any, Final

import msgspec
from fastapi import APIRouter
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from ...domain.failure import Failure, FailureKind
from ...domain.rollout import Role
from ...settings import CompatSettings
from ..body import read_body
from ..house import house_of
from ..openapi import documented
from ..schemas import WireCompletion, WireMessage, WireRollout
from .foreign import Foreign, ForeignMessage, Part, answer, text_of
from .paying import Bill, pay

router = APIRouter()

TASK: Final = "_ng_task_index"


class Item(Foreign):
    """One thing that was said or done: a message, a call of a tool, or what came of it."""

    type: str = "message"
    role: str | None = None
    content: str | tuple[Part, ...] | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | tuple[Part, ...] | None = None


class CreateParams(Foreign):
    """What the policy was asked, as a request to OpenAI's Responses interface."""

    input: str | tuple[Item, ...]
    instructions: str | None = None


class Incomplete(Foreign):
    """Why the policy did not end by itself."""

    reason: str | None = None


class PolicyResponse(Foreign):
    """What the policy said, as a response of that interface."""

    output: tuple[Item, ...]
    incomplete_details: Incomplete | None = None


class VerifyRequest(Foreign):
    """A row of Gym's: what the policy was asked, what it said, and whatever else; all of it comes back."""

    responses_create_params: CreateParams
    response: PolicyResponse


class Row(Foreign):
    """The same, as it was sent."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    responses_create_params: dict[str, Any]
    response: dict[str, Any]


class VerifyResponse(msgspec.Struct, frozen=True):
    """The fields of the row, all of them, and its reward."""

    responses_create_params: dict[str, Any]
    response: dict[str, Any]
    reward: float


class VerifiedRow(Foreign):
    """What is summed up of one row."""

    reward: float
    task: int = Field(0, alias=TASK)


class AggregateRequest(Foreign):
    """The answers of `/verify` to a run, without what is heavy in them."""

    verify_responses: tuple[VerifiedRow, ...]


class AggregateResponse(msgspec.Struct, frozen=True):
    """Mean rewards: over all rows, and task by task."""

    group_level_metrics: list[dict[str, float]]
    agent_metrics: dict[str, float]
    key_metrics: dict[str, float]


@router.post("/verify", **documented((VerifyRequest,), (VerifyResponse,)))
async def verify(request: Request) -> Response:
    """Reward one rollout for NeMo-Gym."""
    house = house_of(request)
    settings = house.settings.compat
    body = await read_body(request, Row)
    row = {
        **(body.model_extra or {}),
        "responses_create_params": body.responses_create_params,
        "response": body.response,
    }
    asked = VerifyRequest.model_validate_json(msgspec.json.encode(row))
    bill = await pay(request, [_rollout(asked, row.get(settings.reference_field))])
    return answer({**row, **_verdict(bill, row, settings)}, bill)


@router.post("/seed_session", response_model=None)
async def seed_session() -> Response:
    """Begin a rollout of NeMo-Gym: nothing is kept between calls, so there is nothing to do."""
    return Response(b"{}", media_type="application/json")


@router.post("/aggregate_metrics", **documented((AggregateRequest,), (AggregateResponse,)))
async def aggregate_metrics(request: Request) -> Response:
    """Sum up a run for NeMo-Gym."""
    body = await read_body(request, AggregateRequest)
    by_task: dict[int, list[float]] = defaultdict(list)
    for row in body.verify_responses:
        by_task[row.task].append(row.reward)
    rewards = [reward for group in by_task.values() for reward in group]
    metrics = {"mean/reward": _mean(rewards)} if rewards else {}
    groups = [{TASK: task, "mean/reward": _mean(group)} for task, group in sorted(by_task.items())]
    return answer(AggregateResponse(groups, metrics, metrics), Bill((), None))


def _mean(rewards: Sequence[float]) -> float:
    """Their sum may be too large for a float, their mean never is."""
    return fsum(reward / len(rewards) for reward in rewards)


def _verdict(bill: Bill, row: dict[str, Any], settings: CompatSettings) -> dict[str, Any]:
    outcome = bill.outcomes[0]
    if isinstance(outcome, Failure) and settings.on_failure == "null":
        return {
            "reward": 0.0,
            "instance_config": {**(row.get("instance_config") or {}), "mask_sample": True},
            "_ng_failure_class": "judge_failed",
            "_ng_failure_judge_error": f"{outcome.kind}: {outcome.detail}",
        }
    return {"reward": bill.paid()[0].reward}


def _rollout(row: VerifyRequest, reference: object) -> WireRollout | Failure:
    params, response = row.responses_create_params, row.response
    asked = (Item(role="user", content=params.input),) if isinstance(params.input, str) else params.input
    last = max((at for at, item in enumerate(response.output) if _answers(item)), default=None)
    if last is None:
        return Failure(FailureKind.EMPTY, "the policy's response has no message of the assistant")
    opening = [] if params.instructions is None else [_said(Role.SYSTEM, params.instructions)]
    said = [*_messages(asked, "/responses_create_params/input")]
    said += _messages(response.output[:last], "/response/output")
    text = text_of(response.output[last].content, f"/response/output/{last}/content")
    return WireRollout(
        prompt=(*opening, *said),
        completion=WireCompletion(text=text, truncated=response.incomplete_details is not None),
        reference=None if reference is None else str(reference),
    )


def _answers(item: Item) -> bool:
    return item.type == "message" and item.role == "assistant"


def _messages(items: Sequence[Item], pointer: str) -> list[WireMessage]:
    """Items as turns; what the policy only thought (`reasoning`) is no turn."""
    turns = []
    for index, item in enumerate(items):
        here = f"{pointer}/{index}"
        if item.type == "message":
            turn = ForeignMessage(role=item.role or "", content=item.content)
            turns.append(turn.message(here))
        elif item.type == "function_call":
            call = json.dumps({"name": item.name, "arguments": item.arguments}, ensure_ascii=False)
            turns.append(_said(Role.ASSISTANT, call))
        elif item.type == "function_call_output":
            turns.append(_said(Role.TOOL, text_of(item.output, f"{here}/output")))
    return turns


def _said(role: Role, content: str) -> WireMessage:
    return WireMessage(role=role, content=content)
