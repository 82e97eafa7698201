"""The probability of a reply's first word, from the vocabulary and the logits of a hosted model."""

import asyncio
from collections.abc import Callable

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from assayd.domain.ports import Deadline, Sampling
from assayd.domain.rollout import Message, Role
from assayd.engines.openings import openings
from assayd.engines.transformers import Generator
from assayd.settings import EngineSettings


def test_a_word_is_all_tokens_that_spell_it() -> None:
    """In any case, and behind the spaces of any tokenizer."""
    vocabulary = {
        "Yes": 0,
        "ĠYes": 1,
        "▁yes": 2,
        "YES": 3,
        "Yesterday": 4,
        "Y": 5,
        "No": 6,
        "ĠNo": 7,
        "Not": 8,
    }
    assert openings(vocabulary, ("Yes", "No")) == ((0, 1, 2, 3), (6, 7))


def test_a_word_that_is_no_token_is_what_begins_it_alone() -> None:
    """Not what begins the other word too."""
    vocabulary = {"Y": 0, "e": 1, "Ye": 2, "N": 3, "No": 4, "Ġ": 5, "": 6}
    assert openings(vocabulary, ("Yes", "No")) == ((0, 2), (4,))
    assert openings({"Y": 0, "Ya": 1, "Ye": 2}, ("Yes", "Yap")) == ((2,), (1,))


async def test_shares_are_the_softmax_of_the_model_whoever_else_is_asked(
    keep: Callable[..., EngineSettings], reading_tokenizer: PreTrainedTokenizerFast
) -> None:
    """Alone, and in the batches of many others that write at the same time."""
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(reading_tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        initializer_range=0.4,
    )
    model = LlamaForCausalLM(config).train(mode=False)
    engine = await Generator.open(keep(model))
    texts = ["not good", "The film was not bad, don't you see?", "x"]
    words = ("not", "you")
    deadline = Deadline.after(60)
    alone = [await engine.choose(_asked(text), words, deadline=deadline) for text in texts]
    busy = [engine.generate(_asked(text), Sampling(12), deadline=deadline) for text in texts * 4]
    *together, _ = await asyncio.gather(
        *(engine.choose(_asked(text), words, deadline=deadline) for text in texts), asyncio.gather(*busy)
    )
    await engine.close()
    sets = openings(reading_tokenizer.get_vocab(), words)
    for text, one, other in zip(texts, alone, together, strict=True):
        with torch.no_grad():
            ids = torch.tensor([reading_tokenizer(text)["input_ids"]])
            shares_v = model(ids).logits[0, -1].double().softmax(-1)
        expected = [shares_v[list(ids)].sum().item() for ids in sets]
        assert one.shares == pytest.approx(expected, abs=1e-5)
        assert other.shares == pytest.approx(expected, abs=1e-5)
        assert one.usage.completion_tokens == 1


def _asked(text: str) -> tuple[Message, ...]:
    return (Message(Role.USER, text),)
