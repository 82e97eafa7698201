"""The value head: padding, and the folders that are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from assayd.domain.failure import AnnotationFailed
from assayd.domain.ports import Deadline, Window
from assayd.domain.rollout import Message, Role
from assayd.engines.model_files import digest
from assayd.engines.transformers import PromptValuer
from assayd.engines.transformers.value_head import ValueHead
from assayd.settings import EngineSettings, ValueSettings

WIDTH, HEADS = 32, 4
PROMPT = (Message(Role.USER, "The film was not good"),)
LONG = (Message(Role.USER, "It's the most amazing thing we've seen! " * 3),)


def tensors() -> dict[str, torch.Tensor]:
    """Random numbers in the shapes of a head."""
    torch.manual_seed(1)
    shapes = [(WIDTH,), (3 * WIDTH, WIDTH), (3 * WIDTH,), (WIDTH, WIDTH), (WIDTH,), (1, WIDTH), (1,)]
    names = ["query", "in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"]
    keys = [names[0], *(f"attention.{name}" for name in names[1:]), "score.weight", "score.bias"]
    return {key: 0.2 * torch.randn(shape) for key, shape in zip(keys, shapes, strict=True)}


@pytest.fixture
def base(keep: Callable[..., EngineSettings], reading_tokenizer: PreTrainedTokenizerFast) -> EngineSettings:
    """A random reference policy in a folder."""
    torch.manual_seed(2)
    config = LlamaConfig(
        vocab_size=len(reading_tokenizer),
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        initializer_range=0.4,
    )
    return keep(LlamaForCausalLM(config))


@pytest.fixture
def make(base: EngineSettings, tmp_path: Path) -> Callable[..., ValueSettings]:
    """Write a head on the policy, its card changed as told; gives the settings that name both."""

    def make(tensors: dict[str, torch.Tensor], **card: Any) -> ValueSettings:
        folder = tmp_path / "head"
        folder.mkdir()
        save_file(tensors, folder / "value_head.safetensors")
        own = {"name": "base", "revision": digest(Path(str(base.model)))}
        full = {"format": "assay-value-head/1", "base": own, "heads": HEADS, "max_value": 1.0, **card}
        (folder / "assay.json").write_text(json.dumps(full))
        return ValueSettings(**{**base.model_dump(), "head": str(folder)})

    return make


def soon() -> Deadline:
    """Enough time."""
    return Deadline.after(60)


def test_what_stands_behind_a_row_s_end_is_never_seen() -> None:
    """Not even where it is no number."""
    head = ValueHead(tensors(), HEADS, 1.0)
    hidden_btd = torch.randn(1, 3, WIDTH)
    behind_btd = torch.cat([hidden_btd, torch.full((1, 5, WIDTH), torch.nan)], 1)
    length_b = torch.tensor([3])
    assert torch.equal(head(hidden_btd, length_b), head(behind_btd, length_b))


def test_every_place_of_a_prompt_is_seen() -> None:
    """From the first to the last."""
    head = ValueHead(tensors(), HEADS, 1.0)
    hidden_btd = torch.randn(1, 4, WIDTH)
    plain = head(hidden_btd, torch.tensor([4]))
    for place in range(4):
        other_btd = hidden_btd.clone()
        other_btd[0, place] += 1.0
        assert not torch.equal(plain, head(other_btd, torch.tensor([4])))


async def test_a_prompt_has_one_value(make: Callable[..., ValueSettings]) -> None:
    """Asked again and again, alone and in company."""
    engine = await PromptValuer.open(make(tensors()))
    first = await engine.value(PROMPT, window=Window(), deadline=soon())
    again = await engine.value(PROMPT, window=Window(), deadline=soon())
    other = await engine.value(LONG, window=Window(), deadline=soon())
    await engine.close()
    assert first.value == again.value != other.value
    assert 0 < first.value < 1
    assert first.intake.usage.prompt_tokens == first.intake.prompt_length > 1


async def test_a_long_prompt_loses_its_left_part(make: Callable[..., ValueSettings]) -> None:
    """Or is refused where nobody allowed that."""
    engine = await PromptValuer.open(make(tensors()))
    told = await engine.value(LONG, window=Window(max_prompt_length=5), deadline=soon())
    assert told.intake.prompt_length == 5
    assert told.intake.prompt_tokens_dropped > 0
    with pytest.raises(AnnotationFailed, match="tokens"):
        await engine.value((Message(Role.USER, "x y " * 200),), window=Window(), deadline=soon())
    await engine.close()


async def test_a_head_of_another_policy_is_refused(make: Callable[..., ValueSettings]) -> None:
    """By the digest of its files, whatever they are called."""
    settings = make(tensors(), base={"name": "base", "revision": "sha256:other"})
    with pytest.raises(ValueError, match="another model"):
        await PromptValuer.open(settings)


async def test_a_policy_that_changed_is_refused(
    make: Callable[..., ValueSettings], base: EngineSettings
) -> None:
    """One weight is enough."""
    settings = make(tensors())
    file = Path(str(base.model)) / "model.safetensors"
    weights = load_file(file)
    next(iter(weights.values()))[0, 0] += 1
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="another model"):
        await PromptValuer.open(settings)


@pytest.mark.parametrize(
    ("change", "card", "said"),
    [
        ({"query": torch.zeros(WIDTH + 1)}, {}, "query"),
        ({"more": torch.zeros(1)}, {}, "more"),
        ({}, {"heads": 5}, "5 heads"),
        ({}, {"max_value": 0.0}, "max_value"),
        ({}, {"format": "assay-segment-rm/1"}, "no value head"),
    ],
)
async def test_what_is_no_head_of_this_policy_is_refused(
    make: Callable[..., ValueSettings], change: dict[str, torch.Tensor], card: dict[str, Any], said: str
) -> None:
    """With what is wrong with it."""
    with pytest.raises(ValueError, match=said):
        await PromptValuer.open(make({**tensors(), **change}, **card))


async def test_a_number_that_is_not_finite_fails_the_prompt(make: Callable[..., ValueSettings]) -> None:
    """It is no value."""
    engine = await PromptValuer.open(make({**tensors(), "score.bias": torch.tensor([torch.nan])}))
    with pytest.raises(AnnotationFailed, match="not finite"):
        await engine.value(PROMPT, window=Window(), deadline=soon())
    await engine.close()
