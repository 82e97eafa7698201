"""What an engine says of a rollout is the same to the last bit, whoever else is asking, where it is held to that."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForTokenClassification,
    PreTrainedTokenizerFast,
)

from assayd.domain.ports import Deadline
from assayd.engines import openai
from assayd.engines.transformers import Generator, PairScorer, SegmentScorer, TokenWeigher
from assayd.engines.transformers.loading import PASS_TOKENS
from assayd.engines.transformers.shapes import Shapes
from assayd.health.questions import Question, answers
from assayd.health.selftest import compared, questions
from assayd.settings import Determinism, EngineName, EngineSettings, RewardSettings

SHAPE: dict[str, Any] = {
    "vocab_size": 410,
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.4,
    "num_labels": 1,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


def bert() -> BertForSequenceClassification:
    """A classifier that reads both ways."""
    plain = {name: value for name, value in SHAPE.items() if not name.endswith("token_id")}
    return BertForSequenceClassification(BertConfig(**plain))


ENGINES: dict[str, tuple[type[Any], Callable[[], Any], type[EngineSettings]]] = {
    "score": (SegmentScorer, lambda: LlamaForTokenClassification(LlamaConfig(**SHAPE)), EngineSettings),
    "weigh": (TokenWeigher, lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)), EngineSettings),
    "generate": (Generator, lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)), EngineSettings),
    "score_pair": (PairScorer, bert, RewardSettings),
}


@pytest.fixture
def opened(
    keep: Callable[..., EngineSettings], reading_tokenizer: PreTrainedTokenizerFast
) -> Callable[..., Any]:
    """A tiny random model on an engine that is held to a level."""

    async def open_at(verb: str, level: Determinism) -> Any:
        torch.manual_seed(0)
        host, make, kind = ENGINES[verb]
        saved = keep(make(), reading_tokenizer).model_dump() | {"determinism": level}
        return await host.open(kind(**saved))

    return open_at


@pytest.mark.parametrize("verb", ENGINES)
@pytest.mark.parametrize("level", [Determinism.STRICT, Determinism.BUCKETED])
async def test_company_changes_not_a_bit(opened: Callable[..., Any], verb: str, level: Determinism) -> None:
    """Numbers and texts, alone and among forty others, are equal: not nearly, but as floats are."""
    engine = await opened(verb, level)
    assert engine.model.engine == f"transformers float32 {level}"
    found = await compared(engine, questions(40, seed=1), seed=2)
    await engine.close()
    assert verb in found
    assert all(one.same for one in found.values()), found


async def test_a_level_changes_numbers_by_rounding_only(opened: Callable[..., Any]) -> None:
    """All three levels give one answer, within what sums of another shape are rounded by."""
    asked = questions(12, seed=3)
    told = []
    for level in Determinism:
        engine = await opened("score", level)
        told.append([(await _scores(engine, one)) for one in asked])
        await engine.close()
    for other in told[1:]:
        assert all(one == pytest.approx(two, abs=1e-3) for one, two in zip(told[0], other, strict=True))


async def _scores(engine: Any, asked: Question) -> tuple[float, ...]:
    return (await answers(engine, asked, Deadline.after(60)))["score"].numbers


@given(
    lengths=st.lists(st.integers(1, 5000), min_size=1, max_size=40),
    level=st.sampled_from(Determinism),
    context=st.none() | st.integers(5000, 6000),
)
def test_passes_have_the_shapes_of_their_level(
    lengths: list[int], level: Determinism, context: int | None
) -> None:
    """The first is always read; strictly alone at its length; in a bucket in a shape that its length alone decides."""
    shapes = Shapes(level, PASS_TOKENS, context)
    rows = shapes.pass_of_first(lengths)
    assert rows[0] == 0
    assert len(set(rows)) == len(rows)
    read = [lengths[index] for index in rows]
    count, columns = shapes.shape(read)
    assert count >= len(rows)
    assert columns >= max(read)
    assert count == 1 or count * columns <= PASS_TOKENS
    assert context is None or columns <= context
    if level is Determinism.STRICT:
        assert (count, columns) == (1, lengths[0])
    if level is Determinism.BUCKETED:
        assert {shapes.shape([length]) for length in read} == {(count, columns)}
        assert len(shapes.padded([[7] * length for length in read], 0)) == count


async def test_a_server_of_somebody_else_is_not_promised_for() -> None:
    """What cannot be held is refused when the service starts, with what to do."""
    away = EngineSettings(
        engine=EngineName.OPENAI, model="some", base_url="http://127.0.0.1:9/v1", determinism="strict"
    )
    with pytest.raises(ValueError, match="cannot be held to: set it to none"):
        await openai.Generator.open(away)
