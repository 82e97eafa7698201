"""The engine that hosts a model in this process, on tiny random models made on the spot."""

import asyncio
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from assayd.domain.failure import AnnotationFailed, FailureKind
from assayd.domain.ports import Deadline, FinishReason, Generation, Sampling
from assayd.domain.provenance import ModelRef, Usage
from assayd.domain.rollout import Message, Role
from assayd.engines import pocket
from assayd.engines.model_files import digest
from assayd.engines.transformers import Generator, TokenWeigher, decoding
from assayd.engines.transformers.loading import Loaded
from assayd.engines.transformers.token_choice import pick
from assayd.settings import EngineName, EngineSettings

WORDS = "the cat sat on a mat and then ran away from two small dogs who were eating apples in rain".split()
SIZE = {"vocab_size": 320, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 512}
PLAIN: dict[str, Any] = {"initializer_range": 0.3, "eos_token_id": 0, "bos_token_id": None, "pad_token_id": 1}
SHAPE: dict[str, Any] = SIZE | HEADS | PLAIN
GPT2 = {"vocab_size": 320, "n_embd": 64, "n_layer": 2, "n_head": 2, **PLAIN}
POISON = 300
"""An id that the tokenizer never gives."""


def text_of(words: int, seed: int) -> str:
    """A prompt of so many words."""
    return " ".join(random.Random(seed).choices(WORDS, k=words))


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE without a chat template."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=POISON,
        special_tokens=["<|end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([" ".join(WORDS)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>", pad_token="<|pad|>")


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    """A Llama that says what its random weights make it say."""
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SHAPE)).eval()


@pytest.fixture(scope="module")
def folder(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The model on disk, as users have theirs."""
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Generator]:
    """An engine opened on ``folder``."""
    engine = asyncio.run(Generator.open(_settings(folder)))
    yield engine
    asyncio.run(engine.close())


def _settings(folder: Path, **more: Any) -> EngineSettings:
    return EngineSettings(engine=EngineName.TRANSFORMERS, model=str(folder), device="cpu", **more)


def _engine(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Generator:
    return Generator(Loaded(model.eval(), tokenizer, ModelRef("test", "1")))


async def _ask(
    engine: Generator, text: str, max_tokens: int = 12, timeout_s: float = 30.0, **sampling: Any
) -> Generation:
    message = (Message(Role.USER, text),)
    settled = Sampling(max_tokens=max_tokens, **sampling)
    return await engine.generate(message, settled, deadline=Deadline.after(timeout_s))


async def _written(engine: Generator, rows: int) -> None:
    while engine.decoder.rows < rows:  # noqa: ASYNC110  # what counts is what the model's thread has done
        await asyncio.sleep(0.001)


def _reference(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, text: str, max_tokens: int
) -> tuple[list[int], str]:
    """What ``transformers.generate`` writes for one prompt alone, greedily."""
    prompt = tokenizer(text, return_tensors="pt")["input_ids"]
    mask = torch.ones_like(prompt)
    ids = model.generate(
        prompt, attention_mask=mask, max_new_tokens=max_tokens, do_sample=False, pad_token_id=1
    )
    written = ids[0, prompt.shape[1] :].tolist()
    return written, tokenizer.decode(written, skip_special_tokens=True)


PROMPTS = [text_of(words, seed) for seed, words in enumerate([1, 60, 3, 25, 24, 26, 90, 2, 40, 7, 7, 33])]


async def test_greedy_text_is_that_of_transformers(
    engine: Generator, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Rows of mixed lengths in one batch say what ``model.generate`` says of each alone."""
    answers = await asyncio.gather(*(_ask(engine, text, 4 + 3 * place) for place, text in enumerate(PROMPTS)))
    for place, (text, answer) in enumerate(zip(PROMPTS, answers, strict=True)):
        written, expected = _reference(model, tokenizer, text, 4 + 3 * place)
        assert answer.text == expected
        assert answer.usage == Usage(1, len(tokenizer(text)["input_ids"]), len(written))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_company_changes_nothing(engine: Generator, temperature: float) -> None:
    """A text is the same alone, in company, and in another order; sampled texts go by their own seed."""

    def ask(place: int) -> Any:
        sampling = {"temperature": temperature, "top_p": 0.95, "seed": place}
        return _ask(engine, PROMPTS[place], 5 + 4 * place, **sampling)

    alone = [await ask(place) for place in range(len(PROMPTS))]
    assert await asyncio.gather(*map(ask, range(len(PROMPTS)))) == alone
    order = random.Random(1).sample(range(len(PROMPTS)), k=len(PROMPTS))
    permuted = await asyncio.gather(*map(ask, order))
    assert permuted == [alone[place] for place in order]


async def test_sampling_goes_by_the_seed(engine: Generator) -> None:
    """One seed gives one text, another seed another, and no seed something new each time."""
    seeded = [await _ask(engine, "the cat", 30, temperature=2.0, seed=seed) for seed in (1, 1, 2)]
    assert seeded[0] == seeded[1] != seeded[2]
    free = [(await _ask(engine, "the cat", 30, temperature=2.0)).text for _ in range(3)]
    assert len(set(free)) == 3


async def test_a_tiny_nucleus_is_greedy(engine: Generator) -> None:
    """With ``top_p`` near 0 only the likeliest token is left."""
    greedy = await _ask(engine, "the cat")
    assert (await _ask(engine, "the cat", temperature=1.0, top_p=1e-9, seed=5)) == greedy


def test_draws_follow_the_probabilities() -> None:
    """Over evenly spread uniforms each token comes as often as its share of the nucleus."""
    probabilities = torch.tensor([0.1, 0.5, 0.0, 0.3, 0.1])
    uniforms = [(index + 0.5) / 1000 for index in range(1000)]
    logits_bv = probabilities.log().expand(1000, -1).clone()
    everything = pick(logits_bv, [Sampling(1, temperature=1.0)] * 1000, uniforms)
    assert everything.bincount(minlength=5).tolist() == pytest.approx([100, 500, 0, 300, 100], abs=1)
    nucleus = pick(logits_bv, [Sampling(1, temperature=1.0, top_p=0.7)] * 1000, uniforms)
    assert nucleus.bincount(minlength=5).tolist() == pytest.approx([0, 625, 0, 375, 0], abs=1)


async def test_a_stop_string_ends_the_text(engine: Generator) -> None:
    """It is not in the text, wherever its characters lie in the tokens; the earliest of several counts."""
    whole = await _ask(engine, PROMPTS[3], 40)
    for start, end in ((5, 8), (11, 12), (17, 29)):
        stop = whole.text[start:end]
        cut = await _ask(engine, PROMPTS[3], 40, stop=("never said", stop))
        assert cut.text == whole.text[: whole.text.index(stop)]
        assert cut.finish is FinishReason.STOP
        assert cut.usage.completion_tokens < 40


async def test_max_tokens_is_the_length(engine: Generator) -> None:
    """A text that runs out of tokens says so; one token is the least."""
    for tokens in (1, 9):
        answer = await _ask(engine, "the dogs", tokens)
        assert answer.finish is FinishReason.LENGTH
        assert answer.usage.completion_tokens == tokens


async def test_the_end_marker_ends_the_text(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Any of the model's end tokens stops the row, and its text is not in the answer."""
    written, _ = _reference(model, tokenizer, PROMPTS[3], 20)
    place = next(index for index in range(3, 20) if written[index] not in written[:index])
    ending = LlamaForCausalLM(LlamaConfig(**SHAPE))
    ending.load_state_dict(model.state_dict())
    ending.generation_config.eos_token_id = [0, written[place]]
    engine = _engine(ending, tokenizer)
    answer = await _ask(engine, PROMPTS[3], 20)
    assert answer.text == tokenizer.decode(written[:place])
    assert answer.finish is FinishReason.STOP
    assert answer.usage.completion_tokens == place + 1
    await engine.close()


async def test_a_caller_who_goes_stops_the_work(engine: Generator) -> None:
    """A cancelled row leaves while its text is being written."""
    before = engine.decoder.rows
    task = asyncio.create_task(_ask(engine, "the cat", 480))
    await _written(engine, before + 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await _ask(engine, "the cat", 2)
    assert engine.decoder.rows < before + 240


async def test_a_deadline_stops_the_work(engine: Generator) -> None:
    """A row whose time is over leaves; one that is late already costs nothing."""
    before = engine.decoder.rows
    with pytest.raises(AnnotationFailed) as failed:
        await _ask(engine, "the cat", 500, timeout_s=0.05)
    assert failed.value.kind is FailureKind.PAST_DEADLINE
    await _ask(engine, "the cat", 2)
    assert engine.decoder.rows < before + 240
    before = engine.decoder.rows
    with pytest.raises(AnnotationFailed) as failed:
        await _ask(engine, "the cat", timeout_s=-1)
    assert failed.value.kind is FailureKind.PAST_DEADLINE
    assert engine.decoder.rows == before


async def test_a_short_text_does_not_wait_for_a_long_one(engine: Generator) -> None:
    """A row that arrives while another is being written joins it and is answered first."""
    before = engine.decoder.rows
    long = asyncio.create_task(_ask(engine, "the cat", 400))
    await _written(engine, before + 3)
    await _ask(engine, "two small dogs", 3)
    assert not long.done()
    joined = await long
    assert joined == await _ask(engine, "the cat", 400)


class PoisonLlama(LlamaForCausalLM):
    """A model that breaks on one token, as real ones do on inputs nobody tried."""

    def forward(
        self, input_ids: torch.Tensor | None = None, position_ids: torch.Tensor | None = None, **kwargs: Any
    ) -> Any:
        """Raise on a prompt with the poison, else do as any Llama does."""
        if input_ids is not None and input_ids.shape[-1] > 1 and (input_ids == POISON).any():
            raise ArithmeticError("poison")
        return super().forward(input_ids=input_ids, position_ids=position_ids, **kwargs)


class CountingLlama(LlamaForCausalLM):
    """A model that counts positions by itself, so that padding would shift them."""

    def forward(self, input_ids: torch.Tensor | None = None, **kwargs: Any) -> Any:
        """Do as any Llama does that is told no positions."""
        assert "position_ids" not in kwargs
        return super().forward(input_ids=input_ids, **kwargs)


@pytest.fixture
def poisonable(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The tokenizer with a word for the poison."""
    poisonable = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()), eos_token="<|end|>"
    )
    poisonable.add_tokens(["POISON"])
    assert poisonable("POISON")["input_ids"] == [POISON]
    return poisonable


async def test_a_poison_item_fails_alone(poisonable: PreTrainedTokenizerFast) -> None:
    """The forward pass of a batch raises: every other item of it is answered, and the model is ready again."""
    torch.manual_seed(0)
    engine = _engine(PoisonLlama(LlamaConfig(**SHAPE)), poisonable)
    alone = [await _ask(engine, text) for text in PROMPTS]
    outcomes = await asyncio.gather(
        *(_ask(engine, text) for text in [*PROMPTS[:5], "the POISON cat", *PROMPTS[5:]]),
        return_exceptions=True,
    )
    failed = outcomes.pop(5)
    assert isinstance(failed, AnnotationFailed)
    assert failed.kind is FailureKind.ENGINE
    assert "run alone" in failed.detail
    assert "poison" not in failed.detail
    assert outcomes == alone
    assert await engine.ready()
    await engine.close()
    assert not await engine.ready()


async def test_numbers_that_are_not_finite_fail_their_row(poisonable: PreTrainedTokenizerFast) -> None:
    """A row whose logits are NaN is a failure and never a text; its neighbours do not notice."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE))
    model.get_input_embeddings().weight.data[POISON] = float("nan")
    engine = _engine(model, poisonable)
    outcomes = await asyncio.gather(
        *(_ask(engine, text) for text in ("the POISON", "the cat", "the dogs")), return_exceptions=True
    )
    assert isinstance(outcomes[0], AnnotationFailed)
    assert "not finite" in outcomes[0].detail
    assert outcomes[1] == await _ask(engine, "the cat")
    await engine.close()


async def test_ids_past_the_embeddings_are_refused(poisonable: PreTrainedTokenizerFast) -> None:
    """A tokenizer that knows more words than the model fails that item before the model sees it."""
    engine = _engine(LlamaForCausalLM(LlamaConfig(**SHAPE | {"vocab_size": POISON})), poisonable)
    with pytest.raises(AnnotationFailed, match="embeddings"):
        await _ask(engine, "the POISON cat")
    assert engine.decoder.rows == 0
    await engine.close()


async def test_what_does_not_fit_is_too_long(engine: Generator, folder: Path) -> None:
    """Prompt and reply together must fit into the model, or into ``max_model_len``."""
    with pytest.raises(AnnotationFailed) as failed:
        await _ask(engine, "the cat", 512)
    assert failed.value.kind is FailureKind.TOO_LONG
    short = await Generator.open(_settings(folder, max_model_len=20))
    with pytest.raises(AnnotationFailed, match="20"):
        await _ask(short, "the cat", 19)
    await _ask(short, "the cat", 5)
    await short.close()


async def test_a_full_context_is_no_danger_to_others(tokenizer: PreTrainedTokenizerFast) -> None:
    """A row that has filled the model's last position may linger until the others are done."""
    model = GPT2LMHeadModel(GPT2Config(**GPT2, n_positions=64)).eval()
    decoder = decoding.Decoder(model, tokenizer, frozenset())
    lengths = [10, *[1] * 8]
    rows = [decoding.Row([5] * length, Sampling(64 - length)) for length in lengths]
    jobs = [decoding.Job(row, 64, Deadline.after(30)) for row in rows]
    await asyncio.to_thread(decoder.run, jobs, lambda at_least: [])
    written = [(await job.result()).usage.completion_tokens for job in jobs]
    assert written == [64 - length for length in lengths]


@pytest.mark.parametrize(
    ("model", "shares"),
    [
        (
            lambda: GPT2LMHeadModel(
                GPT2Config(vocab_size=320, n_embd=64, n_layer=2, n_head=2, initializer_range=0.3)
            ),
            1,
        ),
        (lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=8)), 1),
        (lambda: CountingLlama(LlamaConfig(**SHAPE)), 0),
        (lambda: Lfm2ForCausalLM(Lfm2Config(**SHAPE, layer_types=["conv", "full_attention"])), 0),
    ],
    ids=["learned positions", "sliding window", "positions of its own", "recurrent state"],
)
async def test_other_architectures(model: Any, shares: int, tokenizer: PreTrainedTokenizerFast) -> None:
    """Positions, windows and states come out as in ``model.generate``; who cannot share a batch runs alone."""
    torch.manual_seed(1)
    built = model().eval()
    engine = _engine(built, tokenizer)
    assert engine.decoder.can_share == bool(shares)
    answers = await asyncio.gather(*(_ask(engine, text, 20) for text in PROMPTS[:6]))
    assert [answer.text for answer in answers] == [
        _reference(built, tokenizer, text, 20)[1] for text in PROMPTS[:6]
    ]
    if not shares:
        assert engine.decoder.rows == sum(answer.usage.completion_tokens for answer in answers)
    await engine.close()


async def test_a_chat_template_is_used(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """With a template the model reads turns; without one it reads the contents as they are, joined."""
    talking = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<|end|>")
    talking.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    engine = _engine(model, talking)
    messages = (Message(Role.SYSTEM, "the cat"), Message(Role.USER, "sat"))
    later = Deadline.after(30)
    templated = await engine.generate(messages, Sampling(10), deadline=later)
    talking.chat_template = None
    assert templated == await _ask(engine, "system: the cat\nuser: sat\nassistant:", 10)
    joined = await engine.generate(messages, Sampling(10), deadline=later)
    assert joined == await _ask(engine, "the catsat", 10)
    await engine.close()


async def test_the_revision_of_a_folder_is_its_content(
    engine: Generator, folder: Path, tmp_path: Path
) -> None:
    """Same files, same digest wherever they lie; another byte, another digest; a wrong pin is refused."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert engine.model == ModelRef(str(folder), digest(copy), "transformers float32")
    (copy / "generation_config.json").write_text('{"eos_token_id": 1}')
    assert digest(copy) != engine.model.revision
    with pytest.raises(ValueError, match="not the pinned revision"):
        await Generator.open(_settings(copy, revision=engine.model.revision))


async def test_uses_of_the_same_weights_share_them(folder: Path) -> None:
    """To write and to weigh by one model costs the memory of one; another dtype is another model."""
    settings = EngineSettings(engine="transformers", model=str(folder))
    writes, weighs = await Generator.open(settings), await TokenWeigher.open(settings)
    other = await TokenWeigher.open(settings.model_copy(update={"dtype": "bfloat16"}))
    try:
        assert writes.decoder.model.base_model is weighs.backbone.model
        assert weighs.backbone.model is not other.backbone.model
    finally:
        await asyncio.gather(writes.close(), weighs.close(), other.close())


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"model": None}, "set `model`"),
        ({"model": "/nowhere/at/all"}, "Is it a folder"),
        ({"dtype": "float8"}, "choose auto"),
        ({"device": "cuda"}, "set `device`"),
    ],
)
async def test_what_cannot_be_loaded_says_what_to_do(
    folder: Path, settings: dict[str, Any], advice: str
) -> None:
    """A person can act on the error."""
    if settings.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    wanted = {"engine": EngineName.TRANSFORMERS, "model": str(folder), **settings}
    with pytest.raises(ValueError, match=advice):
        await Generator.open(EngineSettings(**wanted))


async def test_the_embedded_critic_opens() -> None:
    """The weights inside the package answer, pinned by their digest; the name of another model is refused."""
    engine = await pocket.Generator.open(EngineSettings())
    assert engine.model.name == "assay/pocket-critic"
    assert engine.model.revision.startswith("sha256:")
    assert (await _ask(engine, "<|toxicity|>\n<|completion|>\nfine\n<|critique|>", 5)).usage.completion_tokens
    await engine.close()
    with pytest.raises(ValueError, match="set `engine` to transformers"):
        await pocket.Generator.open(EngineSettings(model="another"))
