"""The judging routes."""

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ..annotators.sequence import SequenceScorer
from ..domain.annotation import SegmentAnnotation, TokenAnnotation
from ..domain.provenance import ModelRef
from ..domain.rewriting import ProbeAnnotation, RewriteAnnotation
from ..domain.sequence import SequenceAnnotation
from .answers import RECIPE
from .body import read_body, read_by_method
from .house import house_of
from .judging import judge
from .openapi import documented
from .rewrite_answers import ProbeResponse, RewriteResponse, probed, rewritten
from .schemas import ProbeRequest, RewriteRequest, SegmentRequest, SequenceRequest, TokenRequest
from .segment_answers import SegmentResponse, segment_judged
from .sequence_answers import Reckoned, SequenceResponse, sequence_response
from .token_answers import TokenResponse, token_judged

router = APIRouter(tags=["judge"])


@router.post("/score/token", **documented((TokenRequest, ProbeRequest), (TokenResponse, ProbeResponse)))
async def score_token(request: Request) -> Response:
    """Give every token of every completion a reward and a reason.

    Method `critic`: a critic language model marks spans of the completion; the spans become token rewards (RELC,
    2401.07382). Method `grm`: a token is worth how likely a rewriter would have written it (RLMEC, 2401.06081).
    Each rollout is judged on its own: one that fails says so with its kind, and the others go on.
    """
    house = house_of(request)
    body = await read_by_method(request, TokenRequest, {"grm": ProbeRequest})
    if isinstance(body, ProbeRequest):
        return await _probe(request, body)
    task, mode, options = body.task, body.mode, body.options
    judged = await judge(
        request,
        body,
        lambda tokenizer: house.critic(task, mode, options, tokenizer),
        TokenAnnotation,
        token_judged,
    )
    return _json(TokenResponse(judged.results, judged.recipe, judged.batch))


async def _probe(request: Request, body: ProbeRequest) -> Response:
    house = house_of(request)
    judged = await judge(
        request,
        body,
        lambda tokenizer: house.prober(body.mode, body.options, tokenizer),
        ProbeAnnotation,
        probed,
    )
    return _json(ProbeResponse(judged.results, judged.recipe, judged.batch))


@router.post("/score/segment", **documented((SegmentRequest,), (SegmentResponse,)))
async def score_segment(request: Request) -> Response:
    """Cut every completion where the policy was unsure, and pay each piece.

    A segment reward model scores the pieces, a normalizer brings them to one scale by where they stand, and each
    piece's tokens share its reward (2501.02790). The other methods spread the scalar of an ordinary reward model.
    """
    house = house_of(request)
    body = await read_body(request, SegmentRequest)
    judged = await judge(
        request,
        body,
        lambda tokenizer: house.segment_scorer(body.method, body.mode, body.options, tokenizer),
        SegmentAnnotation,
        segment_judged,
        house.segment_tokenizer,
    )
    return _json(SegmentResponse(judged.results, judged.recipe, judged.batch))


@router.post("/score/sequence", **documented((SequenceRequest,), (SequenceResponse,)))
async def score_sequence(request: Request) -> Response:
    """Give every completion one reward, and say whether it beats what the reference policy would be worth.

    The reward is a weighted sum of hosted reward models, rules, hooks, questions to the critic and rubrics. Its
    advantage over a value of the reference policy says what to keep, and how often to draw it (A-LoL, 2305.14718).
    """
    house = house_of(request)
    body = await read_body(request, SequenceRequest)
    made: list[SequenceScorer] = []

    async def scorer(tokenizer: ModelRef | None) -> SequenceScorer:
        made.append(await house.sequence_scorer(body.mode, body.options, tokenizer))
        return made[-1]

    judged = await judge(request, body, scorer, SequenceAnnotation, Reckoned, house.sequence_tokenizer)
    return _json(sequence_response(judged, made[-1].value_source, body.options))


@router.post("/rewrite", **documented((RewriteRequest,), (RewriteResponse,)))
async def rewrite(request: Request) -> Response:
    """Correct every completion with the fewest edits.

    The first wrong step is located, what stands before it is kept byte by byte, the rest is mended, and the final
    answer is compared with the reference's (RLMEC, 2401.06081).
    """
    house = house_of(request)
    body = await read_body(request, RewriteRequest)
    judged = await judge(
        request,
        body,
        lambda tokenizer: house.rewriter(
            body.method, body.mode, body.options, tokenizer, task=body.task, rubric=body.rubric
        ),
        RewriteAnnotation,
        rewritten,
    )
    return _json(RewriteResponse(judged.results, judged.recipe, judged.batch))


def _json(
    answer: TokenResponse | ProbeResponse | SegmentResponse | SequenceResponse | RewriteResponse,
) -> Response:
    named = {RECIPE: answer.recipe.id}
    return Response(msgspec.json.encode(answer), headers=named, media_type="application/json")
