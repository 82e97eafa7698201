"""What the foreign routes answer is what vLLM's own response models take."""

import warnings
from collections.abc import Callable

import httpx
import pytest
from pydantic import TypeAdapter

with warnings.catch_warnings():  # what its imports call forth is not ours
    warnings.simplefilter("ignore")
    from vllm.entrypoints.pooling.classify.protocol import (
        ClassificationCompletionRequest,
        ClassificationResponse,
    )
    from vllm.entrypoints.pooling.pooling.protocol import PoolingCompletionRequest, PoolingResponse
    from vllm.entrypoints.pooling.scoring.protocol import ScoreResponse, ScoreTextRequest

CHAT = "<|im_start|>user\nAre you a zebra?<|im_end|>\n<|im_start|>assistant\nNo, you zebra.<|im_end|>"


@pytest.mark.parametrize(
    ("path", "asked", "answered"),
    [
        (
            "/classify",
            ClassificationCompletionRequest(input=CHAT, use_activation=False),
            ClassificationResponse,
        ),
        ("/score", ScoreTextRequest(text_1="A zebra?", text_2=["No.", "you zebra"]), ScoreResponse),
        ("/pooling", PoolingCompletionRequest(input=[CHAT], task="token_classify"), PoolingResponse),
        ("/pooling", PoolingCompletionRequest(input=[CHAT], task="classify"), PoolingResponse),
    ],
)
def test_vllms_own_models(foreign: Callable[..., str], path: str, asked: object, answered: type) -> None:
    """A request of vLLM's, with all of its defaults, is answered in a shape of vLLM's, no field more or less."""
    adapter = TypeAdapter(type(asked))
    response = httpx.post(foreign() + path, content=adapter.dump_json(asked), timeout=60)
    assert response.status_code == 200, response.text
    shape = TypeAdapter(answered).validate_json(response.content, strict=True)
    assert set(response.json()) == set(answered.model_fields)
    assert len(shape.data) == (2 if path == "/score" else 1)
