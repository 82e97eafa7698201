"""vLLM's pooling server: ``/classify`` (veRL asks it for one number), ``/score``, and ``/pooling`` for every token.

veRL takes ``data[-1].probs[-1]``, tries a status from 500 on 16 times and gives up at once below. Without a reward for
one sample a whole batch of veRL has none, and vLLM's own answers hold numbers only, so a rollout that could not be
judged fails the call, whatever the settings say.
"""

import time
import uuid
from typing import Literal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ...domain.failure import Failure, FailureKind, Rejected
from ...domain.rollout import Role
from ..body import read_body, read_by_field
from ..house import House, house_of
from ..openapi import documented
from ..schemas import WireCompletion, WireRollout
from .foreign import Foreign, ForeignMessage, answer, refuse_option
from .inputs import Inputs, Placed, in_input, one_by_one, pinned, rollouts
from .paying import Bill, pay, tokens_wanted
from .sglang import SGLangClassified, SGLangRequest, classified

router = APIRouter()


class VllmRequest(Foreign):
    """What every request of vLLM's pooling server may say."""

    model: str | None = None
    use_activation: bool | None = None
    """Rewards are sent as they are: true is refused."""
    truncate_prompt_tokens: int | None = None
    """Nothing is cut: refused."""

    def refuse(self) -> None:
        """Raise ``Rejected`` for what would change the answer."""
        refuse_option("use_activation", self.use_activation, "rewards are sent as they are")
        refuse_option("truncate_prompt_tokens", self.truncate_prompt_tokens, "nothing is cut")


class VllmInputRequest(VllmRequest):
    """Conversations, each one text or the token ids of one; or one conversation as messages."""

    input: Inputs | None = None
    messages: tuple[ForeignMessage, ...] | None = None

    @property
    def inputs(self) -> Inputs:
        """The input; raises ``Rejected`` without one."""
        if self.input is None:
            raise Rejected(FailureKind.INVALID, "there is nothing to judge", pointer="/input")
        return self.input


class VllmPoolingRequest(VllmInputRequest):
    """The same, to be paid token by token."""

    task: Literal["token_classify", "classify"] | None = None
    """`token_classify` (default): every token. `classify`: the whole."""


class VllmScoreRequest(VllmRequest):
    """Prompts and completions: as many of each, or one prompt for all. Four pairs of names for the same."""

    text_1: str | tuple[str, ...] | None = None
    text_2: str | tuple[str, ...] | None = None
    queries: str | tuple[str, ...] | None = None
    documents: str | tuple[str, ...] | None = None
    items: str | tuple[str, ...] | None = None
    data_1: str | tuple[str, ...] | None = None
    data_2: str | tuple[str, ...] | None = None

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Prompt and completion of each rollout; raises ``Rejected`` where they do not pair."""
        first = next((one for one in (self.text_1, self.queries, self.data_1) if one is not None), ())
        second = next(
            (one for one in (self.text_2, self.documents, self.items, self.data_2) if one is not None), ()
        )
        prompts = (first,) if isinstance(first, str) else first
        completions = (second,) if isinstance(second, str) else second
        if len(prompts) == 1:
            prompts = prompts * len(completions)
        if not completions or len(prompts) != len(completions):
            raise Rejected(
                FailureKind.INVALID,
                f"{len(prompts)} prompts and {len(completions)} completions do not pair: send text_1 and text_2, "
                "as many of each, or one text_1",
            )
        return list(zip(prompts, completions, strict=True))


class VllmUsage(msgspec.Struct, frozen=True):
    """Tokens that the engines read and wrote for this call; none for what was remembered."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int


class VllmClass(msgspec.Struct, frozen=True):
    """One reward, as the only class there is."""

    index: int
    label: str
    probs: list[float]
    num_classes: int


class VllmScore(msgspec.Struct, frozen=True):
    """One reward."""

    index: int
    object: str
    score: float


class VllmPooled(msgspec.Struct, frozen=True):
    """One row of one reward per token that was sent; 0.0 for those of the prompt and for markers."""

    index: int
    object: str
    data: list[tuple[float] | float]


class VllmClassifyResponse(msgspec.Struct, frozen=True):
    """One result per input."""

    id: str
    object: str
    created: int
    model: str
    data: list[VllmClass]
    usage: VllmUsage


class VllmScoreResponse(msgspec.Struct, frozen=True):
    """One result per pair."""

    id: str
    object: str
    created: int
    model: str
    data: list[VllmScore]
    usage: VllmUsage


class VllmPoolingResponse(msgspec.Struct, frozen=True):
    """One result per input."""

    id: str
    object: str
    created: int
    model: str
    data: list[VllmPooled]
    usage: VllmUsage


@router.post(
    "/classify",
    **documented((VllmInputRequest, SGLangRequest), (VllmClassifyResponse, SGLangClassified)),
)
@router.post("/v1/classify", **documented((VllmInputRequest,), (VllmClassifyResponse,)))
async def classify(request: Request) -> Response:
    """Reward whole conversations, by vLLM's wire format or (with `text` or `input_ids`) by SGLang's.

    A completion is what stands behind the chat template's marker, or the last message.
    """
    house = house_of(request)
    native = {"text": SGLangRequest, "input_ids": SGLangRequest}
    body = await read_by_field(request, VllmInputRequest, native)
    if isinstance(body, SGLangRequest):
        return await classified(request, body)
    body.refuse()
    bill = await pay(request, await _rollouts(body, house))
    data = [VllmClass(i, "LABEL_0", [one.reward], 1) for i, one in enumerate(bill.paid())]
    return answer(
        VllmClassifyResponse(_id("classify"), "list", _now(), _model(body), data, _usage(bill)), bill
    )


@router.post("/score", **documented((VllmScoreRequest,), (VllmScoreResponse,)))
@router.post("/v1/score", **documented((VllmScoreRequest,), (VllmScoreResponse,)))
async def score(request: Request) -> Response:
    """Reward completions whose prompts are sent beside them, by vLLM's wire format."""
    body = await read_body(request, VllmScoreRequest)
    body.refuse()
    asked = [WireRollout(prompt=prompt, completion=WireCompletion(text=text)) for prompt, text in body.pairs]
    bill = await pay(request, asked)
    data = [VllmScore(i, "score", one.reward) for i, one in enumerate(bill.paid())]
    return answer(VllmScoreResponse(_id("embd"), "list", _now(), _model(body), data, _usage(bill)), bill)


@router.post("/pooling", **documented((VllmPoolingRequest,), (VllmPoolingResponse,)))
async def pooling(request: Request) -> Response:
    """Pay every token of whole conversations, by vLLM's wire format.

    One row per token that was sent, those of the prompt included, which get 0.0. Texts are cut without any marker in
    front: send ids where places matter.
    """
    house = house_of(request)
    body = await read_body(request, VllmPoolingRequest)
    body.refuse()
    if body.task == "classify":
        bill = await pay(request, await _rollouts(body, house))
        data = [VllmPooled(i, "pooling", [one.reward]) for i, one in enumerate(bill.paid())]
    else:
        refuse_option("messages", body.messages, "send input, as token ids: rewards belong to tokens")
        bill, data = await _pooled(request, body.inputs, house)
    return answer(VllmPoolingResponse(_id("pool"), "list", _now(), _model(body), data, _usage(bill)), bill)


async def _pooled(request: Request, sent: Inputs, house: House) -> tuple[Bill, list[VllmPooled]]:
    tokens_wanted(house.settings.compat)
    tokenizer = await pinned(house)
    placed = [await in_input(one, house, tokenizer) for one in one_by_one(sent, "/input")]
    bill = await pay(request, [one if isinstance(one, Failure) else one.rollout for one in placed])
    paid = bill.paid()
    there = [one for one in placed if isinstance(one, Placed)]
    data = [
        VllmPooled(index, "pooling", _rows(place, one.rewards or ()))
        for index, (place, one) in enumerate(zip(there, paid, strict=True))
    ]
    return bill, data


def _rows(place: Placed, rewards: tuple[float, ...]) -> list[tuple[float] | float]:
    before, behind = [(0.0,)] * place.start, [(0.0,)] * (place.length - place.end)
    return [*before, *((reward,) for reward in rewards), *behind]


async def _rollouts(body: VllmInputRequest, house: House) -> list[WireRollout | Failure]:
    if body.messages is None:
        return await rollouts(body.inputs, house)
    spoken = [turn.message(f"/messages/{index}") for index, turn in enumerate(body.messages)]
    if not spoken or spoken[-1].role is not Role.ASSISTANT:
        raise Rejected(
            FailureKind.INVALID,
            "the last message is not the assistant's: there is no completion",
            pointer="/messages",
        )
    return [WireRollout(prompt=tuple(spoken[:-1]), completion=WireCompletion(text=spoken[-1].content))]


def _usage(bill: Bill) -> VllmUsage:
    usage = bill.usage
    total = usage.prompt_tokens + usage.completion_tokens
    return VllmUsage(usage.prompt_tokens, total, usage.completion_tokens)


def _model(body: VllmRequest) -> str:
    return body.model or "assay"


def _id(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex}"


def _now() -> int:
    return int(time.time())
