"""The engine that weighs tokens, against plain log-softmax on one row at a time."""

import asyncio
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoTokenizer,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from assayd.domain.failure import AnnotationFailed, FailureKind
from assayd.domain.ports import Deadline, TokenStats, Window
from assayd.domain.provenance import ModelRef
from assayd.domain.rollout import Completion, Message, Role
from assayd.engines.tokenizers import Aligner, RawCompletion
from assayd.engines.transformers import TokenWeigher
from assayd.engines.transformers.entropies import weigh
from assayd.engines.transformers.loading import Loaded
from assayd.settings import EngineSettings

LATER = Deadline.after(3600)
SHAPE: dict[str, Any] = {
    "vocab_size": 420,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": None,
}
GPT2: dict[str, Any] = {"vocab_size": 420, "n_embd": 64, "n_layer": 2, "n_head": 4, "initializer_range": 0.2}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**GPT2)),
    "softcap": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SHAPE, head_dim=16, sliding_window=8, final_logit_softcapping=2.0)
    ),
    "scaled up": lambda: CohereForCausalLM(CohereConfig(**SHAPE, logit_scale=3.0)),
    "scaled down": lambda: GraniteForCausalLM(GraniteConfig(**SHAPE, logits_scaling=4.0)),
}
WORDS = "the cabbie yells don't café ☕ naïve bad; film 1 + 2 = 3 return seen!".split()
PROMPTS = ("Write.", "the film was not good", " ".join(WORDS * 2))


async def completed(folder: Path | str, *texts: str) -> list[Completion]:
    """Completions in the tokens of a folder's tokenizer."""
    outcomes = await Aligner(Path(folder)).align_all([RawCompletion(text=text) for text in texts])
    return [outcome for outcome in outcomes if isinstance(outcome, Completion)]


def ragged(count: int) -> list[str]:
    """Texts of very different lengths."""
    dice = random.Random(0)
    return [" ".join(dice.choices(WORDS, k=dice.choice((1, 2, 5, 20, 40)))) for _ in range(count)]


def plain(
    model: PreTrainedModel, prompt: list[int], completion: list[int]
) -> tuple[list[float], list[float]]:
    """Log-probabilities and entropies by the book, from the model's own logits."""
    with torch.no_grad():
        logits_tv = model.eval()(input_ids=torch.tensor([[*prompt, *completion]])).logits[0].double()
    all_tv = logits_tv - logits_tv.exp().sum(-1, keepdim=True).log()
    logprobs = [all_tv[len(prompt) + place - 1, token_id].item() for place, token_id in enumerate(completion)]
    return logprobs, (-(all_tv.exp() * all_tv).sum(-1))[len(prompt) :].tolist()


def ask(engine: TokenWeigher, prompt: str, completion: Completion, **more: Any) -> Any:
    """Weigh one completion."""
    settled = {"window": Window(), "deadline": LATER} | more
    return engine.weigh((Message(Role.USER, prompt),), completion, **settled)


@pytest.mark.parametrize("name", MODELS)
async def test_weights_are_those_of_the_model(name: str, keep: Callable[..., EngineSettings]) -> None:
    """Ragged rows in one batch get what log-softmax of the model's own logits gives each alone."""
    torch.manual_seed(0)
    model = MODELS[name]()
    settings = keep(model)
    tokenizer = AutoTokenizer.from_pretrained(settings.model)
    engine = await TokenWeigher.open(settings)
    completions = await completed(str(settings.model), *ragged(24))
    answers: list[TokenStats] = await asyncio.gather(
        *(ask(engine, PROMPTS[index % 3], completion) for index, completion in enumerate(completions))
    )
    assert engine.backbone.passes < len(completions)
    for index, (completion, answer) in enumerate(zip(completions, answers, strict=True)):
        prompt_ids = tokenizer(PROMPTS[index % 3])["input_ids"]
        logprobs, entropies = plain(model, prompt_ids, list(completion.alignment.token_ids or ()))
        assert answer.logprobs == pytest.approx(logprobs, abs=1e-5)
        assert answer.entropies == pytest.approx(entropies, abs=1e-5)
        assert answer.intake.prompt_length == len(prompt_ids)
    await engine.close()


async def test_neighbours_change_nothing(keep: Callable[..., EngineSettings]) -> None:
    """An item weighs the same alone, in company, and in other company."""
    settings = keep(MODELS["llama"]())
    engine = await TokenWeigher.open(settings)
    completions = await completed(str(settings.model), *ragged(20))
    alone: list[TokenStats] = [await ask(engine, "a", completion) for completion in completions]
    for chosen in (range(20), range(19, -1, -1), range(0, 20, 3)):
        together = await asyncio.gather(*(ask(engine, "a", completions[index]) for index in chosen))
        for index, answer in zip(chosen, together, strict=True):
            assert answer.logprobs == pytest.approx(alone[index].logprobs, abs=1e-5)
            assert answer.entropies == pytest.approx(alone[index].entropies, abs=1e-5)
    await engine.close()


def logits_as_they_are(hidden_nd: torch.Tensor) -> torch.Tensor:
    """A head that changes nothing."""
    return hidden_nd.clone()


def test_worked_entropies() -> None:
    """S4: uniform over 4 and 8, one favourite of four; a certain choice, and one beside impossible ones."""
    cases = {
        (0.0,) * 4: 1.386294,
        (0.0,) * 8: 2.079442,
        (4.0, 0.0, 0.0, 0.0): 0.26183,
        (1e4, 0.0): 0.0,
        (0.0, 0.0, -math.inf): 0.693147,
    }
    for logits, entropy in cases.items():
        hidden_nd = torch.tensor([logits])
        _, entropies_n = weigh(logits_as_they_are, hidden_nd, torch.tensor([0]), len(logits))
        assert entropies_n.tolist() == pytest.approx([entropy], abs=1e-5)


@given(rows=st.integers(0, 40), chunk_bytes=st.integers(1, 4 * 7 * 50), seed=st.integers(0, 99))
def test_chunks_change_nothing(rows: int, chunk_bytes: int, seed: int) -> None:
    """Whatever fits at once, the numbers are the same, one of each per place."""
    generator = torch.Generator().manual_seed(seed)
    logits_nv = torch.randn(rows, 7, generator=generator) * 5
    ids_n = torch.randint(0, 7, (rows,), generator=generator)
    at_once = weigh(logits_as_they_are, logits_nv, ids_n, 7)
    for whole_n, chunked_n in zip(
        at_once, weigh(logits_as_they_are, logits_nv, ids_n, 7, chunk_bytes), strict=True
    ):
        assert len(whole_n) == rows
        assert torch.allclose(whole_n, chunked_n, rtol=0, atol=1e-6)


class Shouting(LlamaForCausalLM):
    """A model that changes its logits in a way of its own."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Double the logits."""
        outputs = super().forward(*args, **kwargs)
        outputs.logits = outputs.logits * 2
        return outputs


def test_unknown_changes_to_logits_are_refused(keep: Callable[..., EngineSettings]) -> None:
    """Entropies that the model would not have are never given: loading says what to do."""
    tokenizer = AutoTokenizer.from_pretrained(keep(MODELS["llama"]()).model)
    with pytest.raises(ValueError, match="send the policy's own `entropies`"):
        TokenWeigher(Loaded(Shouting(LlamaConfig(**SHAPE)).eval(), tokenizer, ModelRef("test", "1")))


@pytest.mark.parametrize("kind", ["llama2", "gemma", "t5", "bert", "words"])
async def test_tokens_of_another_kind_share_by_characters(
    kind: str, keep: Callable[..., EngineSettings], tokenizer_folders: Path
) -> None:
    """Log-probabilities keep their sum, and the model's highest entropy is among the policy's."""
    torch.manual_seed(0)
    model = MODELS["llama"]()
    settings = keep(model)
    tokenizer = AutoTokenizer.from_pretrained(settings.model)
    engine = await TokenWeigher.open(settings)
    (theirs,) = await completed(
        tokenizer_folders / kind, "The cabbie yells don't, Café ☕ naïve; is the film bad"
    )
    answer: TokenStats = await ask(engine, "Write.", theirs)
    assert answer.intake.transferred
    assert len(answer.logprobs) == len(answer.entropies) == len(theirs)
    own = tokenizer(theirs.text)["input_ids"]
    logprobs, entropies = plain(model, tokenizer("Write.")["input_ids"], own)
    assert math.fsum(answer.logprobs) == pytest.approx(math.fsum(logprobs), abs=1e-4)
    assert max(answer.entropies) == pytest.approx(max(entropies), abs=1e-5)
    assert set(map(rounded, answer.entropies)) <= {0.0, *map(rounded, entropies)}
    await engine.close()


def rounded(value: float) -> float:
    """The value as two ways of adding up agree on it."""
    return round(value, 4)


async def test_an_end_marker_of_another_kind_is_the_models_own(
    keep: Callable[..., EngineSettings], tokenizer_folders: Path
) -> None:
    """The policy's end marker weighs what the model's weighs; padding behind it weighs nothing."""
    torch.manual_seed(0)
    model = MODELS["llama"]()
    settings = keep(model)
    tokenizer = AutoTokenizer.from_pretrained(settings.model)
    engine = await TokenWeigher.open(settings)
    (body,) = await completed(tokenizer_folders / "gemma", "the film")
    ids = (*(body.alignment.token_ids or ()), 2, 1, 1)
    aligner = Aligner(tokenizer_folders / "gemma")
    pin = await aligner.pin(str(tokenizer_folders / "gemma"))
    (theirs,) = await aligner.align_all([RawCompletion(token_ids=ids)], pin)
    assert isinstance(theirs, Completion)
    assert len(theirs.special) == 3
    answer: TokenStats = await ask(engine, "Write.", theirs)
    prompt, own = tokenizer("Write.")["input_ids"], tokenizer("the film")["input_ids"]
    logprobs, entropies = plain(model, prompt, [*own, tokenizer.eos_token_id])
    assert answer.logprobs[len(body) :] == pytest.approx((logprobs[-1], 0, 0), abs=1e-5)
    assert answer.entropies[len(body) :] == pytest.approx((entropies[-1], 0, 0), abs=1e-5)
    await engine.close()


async def test_failures_are_told_apart(keep: Callable[..., EngineSettings], tokenizer_folders: Path) -> None:
    """Past its deadline, too long, unaligned; an empty completion is none of them."""
    settings = keep(MODELS["llama"]())
    engine = await TokenWeigher.open(settings.model_copy(update={"max_model_len": 12}))
    empty, short, long = await completed(str(settings.model), "", "the film", "the film " * 9)
    (theirs,) = await completed(tokenizer_folders / "t5", "the film")
    assert (await ask(engine, "a", empty)).logprobs == ()
    for completion, more, kind in (
        (short, {"deadline": Deadline.after(-1)}, FailureKind.PAST_DEADLINE),
        (long, {}, FailureKind.TOO_LONG),
        (theirs, {"window": Window(transfer=False)}, FailureKind.UNALIGNED),
    ):
        with pytest.raises(AnnotationFailed) as failed:
            await ask(engine, "a", completion, **more)
        assert failed.value.kind is kind
    await engine.close()
    assert not await engine.ready()
