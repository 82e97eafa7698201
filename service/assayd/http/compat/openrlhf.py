"""OpenRLHF's remote reward model: ``--reward.remote_url http://host:8000/get_reward``.

Its executor sends one sample a call, five times at most, and keeps ``None`` as the reward where that fails. Its trainer
has no way to leave a sample out: it stops where a reward is not there. So an error and ``null`` end alike, the latter
without the five attempts. A list of token rewards would be taken for other samples' rewards, so none is sent.
"""

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ...domain.failure import Failure, FailureKind, Rejected
from ...domain.text import Unaligned
from ...settings import CompatSettings
from ..body import read_body
from ..bounds import too_long
from ..house import house_of
from ..openapi import documented
from ..schemas import WireCompletion, WireRollout
from .foreign import Foreign, answer
from .paying import Bill, Paid, pay
from .splitting import by_markers, by_prompt

router = APIRouter()


class OpenRLHFRequest(Foreign):
    """Samples to reward: `query` is prompt and completion with their special tokens, `prompts` the prompt alone."""

    query: tuple[str, ...]
    prompts: tuple[str | None, ...] | None = None
    labels: tuple[str | int | float | None, ...] | None = None
    """The known answers; they become references."""


class OpenRLHFResponse(msgspec.Struct, frozen=True):
    """One number per query; null where none could be had and the settings ask for null.

    `extra_logs` are mean and least reward of its tokens, where tokens are paid.
    """

    rewards: list[float] | None
    scores: list[float] | None
    extra_logs: dict[str, list[float]]


@router.post("/get_reward", **documented((OpenRLHFRequest,), (OpenRLHFResponse,)))
async def get_reward(request: Request) -> Response:
    """Reward completions for OpenRLHF.

    A completion is what stands behind its prompt in the query; without prompts, behind the chat template's marker.
    """
    house = house_of(request)
    settings = house.settings.compat
    body = await read_body(request, OpenRLHFRequest)
    count = len(body.query)
    prompts, labels = body.prompts or (None,) * count, body.labels or (None,) * count
    if not len(prompts) == len(labels) == count:
        raise Rejected(
            FailureKind.INVALID,
            f"{count} queries, {len(prompts)} prompts and {len(labels)} labels: one of each a sample",
        )
    most = house.settings.server.max_prompt_chars
    asked = [
        too_long(max(len(query), len(prompt or "")), "prompt", most) or _asked(query, prompt, label, settings)
        for query, prompt, label in zip(body.query, prompts, labels, strict=True)
    ]
    bill = await pay(request, asked)
    return answer(_answer(bill, settings), bill)


def _asked(
    query: str, prompt: str | None, label: str | float | None, settings: CompatSettings
) -> WireRollout | Failure:
    try:
        place = by_markers(query, settings) if prompt is None else by_prompt(query, prompt, settings)
    except Unaligned as error:
        return Failure(FailureKind.UNALIGNED, str(error))
    return WireRollout(
        prompt=place.prompt,
        completion=WireCompletion(text=query[place.start : place.end]),
        reference=None if label is None else str(label),
    )


def _answer(bill: Bill, settings: CompatSettings) -> OpenRLHFResponse:
    # A list with a null in it would break in torch; null alone is what the executor itself keeps.
    if settings.on_failure == "null" and all(isinstance(one, Failure) for one in bill.outcomes):
        return OpenRLHFResponse(None, None, {})
    paid = bill.paid()
    rewards = [one.reward for one in paid]
    return OpenRLHFResponse(rewards, rewards, _logs(paid))


def _logs(paid: list[Paid]) -> dict[str, list[float]]:
    by_token = [one.rewards for one in paid if one.rewards is not None]
    if len(by_token) < len(paid):
        return {}
    return {
        "token_reward_mean": [sum(rewards) / len(rewards) for rewards in by_token],
        "token_reward_min": [min(rewards) for rewards in by_token],
    }
