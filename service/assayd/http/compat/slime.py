"""slime's remote reward model: ``--rm-type remote_rm --rm-url http://host:8000/remote_rm --reward-key score``.

Its client sends one sample a call, ten times at most, whatever the status, and then stops the run. The whole answer
becomes ``sample.reward``. ``{"score": null}`` passes the client; slime's own group normalization then stops with a
TypeError, while a ``--custom-reward-post-process-path`` of the user can tell such samples and leave them out.
"""

from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ...domain.failure import Failure
from ..body import read_body
from ..house import house_of
from ..openapi import documented
from ..schemas import WireCompletion, WireRollout
from .foreign import Foreign, ForeignMessage, answer
from .paying import pay
from .splitting import ends, spoken_in
from .templates import before_ends

router = APIRouter()


class SlimeRequest(Foreign):
    """One sample: the prompt before or after its chat template, and the completion."""

    prompt: str | tuple[ForeignMessage, ...]
    response: str
    label: Any = None
    """The known answer; it becomes the reference."""


class SlimeResponse(msgspec.Struct, frozen=True):
    """What becomes of the sample: `score`, and how it came about.

    `token_rewards` and `offsets` (half-open, code points) are null where completions are rewarded as a whole, `score`
    with them where there is none; `failure` then says why.
    """

    score: float | None
    token_rewards: tuple[float, ...] | None
    offsets: tuple[tuple[int, int], ...] | None
    failure: str | None


@router.post("/remote_rm", **documented((SlimeRequest,), (SlimeResponse,)))
async def remote_rm(request: Request) -> Response:
    """Reward one completion for slime."""
    house = house_of(request)
    settings = house.settings.compat
    body = await read_body(request, SlimeRequest)
    prompt = (
        spoken_in(body.prompt, settings)
        if isinstance(body.prompt, str)
        else tuple(turn.message(f"/prompt/{index}") for index, turn in enumerate(body.prompt))
    )
    written = body.response[: before_ends(body.response, 0, len(body.response), ends(settings))]
    rollout = WireRollout(
        prompt=prompt,
        completion=WireCompletion(text=written),
        reference=None if body.label is None else str(body.label),
    )
    bill = await pay(request, [rollout])
    outcome = bill.outcomes[0]
    if isinstance(outcome, Failure) and settings.on_failure == "null":
        return answer(SlimeResponse(None, None, None, f"{outcome.kind}: {outcome.detail}"), bill)
    (paid,) = bill.paid()
    return answer(SlimeResponse(paid.reward, paid.rewards, paid.offsets, None), bill)
