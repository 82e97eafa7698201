"""SGLang's reward models: its own ``/classify`` (routed by ``vllm``, which has the same path), and ``/v1/embeddings``.

veRL on SGLang takes ``data[-1].embedding[-1]``. What holds for vLLM's formats and failures holds here.
"""

import uuid

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ...domain.failure import FailureKind, Rejected
from ..body import read_body
from ..house import house_of
from ..openapi import documented
from .foreign import Foreign, answer
from .inputs import Inputs, TokenIds, rollouts
from .paying import Paid, pay

router = APIRouter()


class SGLangRequest(Foreign):
    """Conversations, each one text or the token ids of one."""

    text: str | tuple[str, ...] | None = None
    input_ids: TokenIds | tuple[TokenIds, ...] | None = None


class SGLangMeta(msgspec.Struct, frozen=True):
    """What it took."""

    id: str
    prompt_tokens: int


class SGLangClassified(msgspec.Struct, frozen=True):
    """One reward; a list of these where a list was sent."""

    embedding: list[float]
    meta_info: SGLangMeta


class EmbeddingsRequest(Foreign):
    """Conversations, each one text or the token ids of one."""

    model: str = "assay"
    input: Inputs


class Embedding(msgspec.Struct, frozen=True):
    """One reward, as a vector of one number."""

    index: int
    embedding: list[float]
    object: str = "embedding"


class EmbeddingsUsage(msgspec.Struct, frozen=True):
    """Tokens that the engines read for this call."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(msgspec.Struct, frozen=True):
    """One result per input."""

    object: str
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage


async def classified(request: Request, body: SGLangRequest) -> Response:
    """The answer to SGLang's own ``/classify``."""
    sent: Inputs | None = body.input_ids if body.text is None else body.text
    if sent is None or None not in (body.text, body.input_ids):
        raise Rejected(FailureKind.INVALID, "send either text or input_ids", pointer="/text")
    bill = await pay(request, await rollouts(sent, house_of(request), "/text"))
    shapes = [_classified(one) for one in bill.paid()]
    single = isinstance(sent, str) or isinstance(sent[0], int)
    return answer(shapes[0] if single else [msgspec.to_builtins(shape) for shape in shapes], bill)


@router.post("/v1/embeddings", **documented((EmbeddingsRequest,), (EmbeddingsResponse,)))
async def embeddings(request: Request) -> Response:
    """Reward whole conversations, as SGLang does for reward models: an embedding of one number."""
    house = house_of(request)
    body = await read_body(request, EmbeddingsRequest)
    bill = await pay(request, await rollouts(body.input, house))
    data = [Embedding(index, [one.reward]) for index, one in enumerate(bill.paid())]
    read = bill.usage.prompt_tokens
    return answer(EmbeddingsResponse("list", data, body.model, EmbeddingsUsage(read, read)), bill)


def _classified(one: Paid) -> SGLangClassified:
    return SGLangClassified([one.reward], SGLangMeta(uuid.uuid4().hex, one.usage.prompt_tokens))
