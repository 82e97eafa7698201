"""The engine that hosts segment reward models, against plain torch on one row at a time."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertForTokenClassification,
    GPT2Config,
    GPT2ForTokenClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForTokenClassification,
)

from assayd.domain.failure import AnnotationFailed, FailureKind
from assayd.domain.ports import Deadline, Window
from assayd.domain.rollout import Completion, Message, Role
from assayd.domain.text import Segment
from assayd.engines.tokenizers import Aligner, RawCompletion
from assayd.engines.transformers import SegmentScorer
from assayd.engines.transformers.loading import CPU_PASS_TOKENS
from assayd.settings import EngineSettings

LATER = Deadline.after(3600)
OPEN = Window()
SHAPE: dict[str, Any] = {
    "vocab_size": 420,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "num_labels": 1,
    "pad_token_id": None,
}
GPT2: dict[str, Any] = {"vocab_size": 420, "n_embd": 64, "n_layer": 2, "n_head": 4, "initializer_range": 0.2}
WORDS = "the cabbie yells don't café ☕ naïve bad; film 1 + 2 = 3 return seen!".split()
PROMPTS = ("Write.", "the film was not good", " ".join(WORDS * 2))


def llama() -> LlamaForTokenClassification:
    """A reward model with a biased head."""
    model = LlamaForTokenClassification(LlamaConfig(**SHAPE)).eval()
    model.score.bias.data.fill_(0.7)
    return model


MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": llama,
    "qwen2": lambda: Qwen2ForTokenClassification(Qwen2Config(**SHAPE)).eval(),
    "gpt2": lambda: GPT2ForTokenClassification(GPT2Config(**GPT2, num_labels=1)).eval(),
}


def asked(text: str) -> tuple[Message, ...]:
    """One turn of a user."""
    return (Message(Role.USER, text),)


async def completed(settings: EngineSettings, *texts: str) -> list[Completion]:
    """Completions in the tokens of the model itself."""
    outcomes = await Aligner(Path(str(settings.model))).align_all(
        [RawCompletion(text=text) for text in texts]
    )
    return [outcome for outcome in outcomes if isinstance(outcome, Completion)]


def ragged(count: int) -> list[str]:
    """Texts of very different lengths."""
    dice = random.Random(0)
    return [" ".join(dice.choices(WORDS, k=dice.choice((1, 2, 5, 20, 40)))) for _ in range(count)]


def cut(length: int) -> tuple[Segment, ...]:
    """Segments of one, two, three ... tokens."""
    segments, start = [], 0
    while start < length:
        segments.append(Segment(start, min(length, start + len(segments) + 1)))
        start = segments[-1].end
    return tuple(segments)


def scores_of(model: PreTrainedModel, prompt_ids: list[int], completion_ids: list[int]) -> list[float]:
    """What the model itself says at each token of one completion, and on an end marker behind it."""
    ids = torch.tensor([[*prompt_ids, *completion_ids, 1]])
    with torch.no_grad():
        return model(input_ids=ids).logits[0, len(prompt_ids) :, 0].tolist()


@pytest.fixture
async def engine(keep: Callable[..., EngineSettings]) -> AsyncIterator[SegmentScorer]:
    """An engine on a Llama."""
    torch.manual_seed(0)
    engine = await SegmentScorer.open(keep(llama()))
    yield engine
    await engine.close()


@pytest.mark.parametrize("name", MODELS)
async def test_scores_are_those_of_the_model(name: str, keep: Callable[..., EngineSettings]) -> None:
    """Ragged rows in one batch get what the model gives each alone, with the end marker and without."""
    torch.manual_seed(0)
    model = MODELS[name]()
    settings = keep(model)
    tokenizer = AutoTokenizer.from_pretrained(settings.model)
    engine = await SegmentScorer.open(settings)
    completions = await completed(settings, *ragged(24))
    closing = [index % 2 == 0 for index in range(len(completions))]
    answers = await asyncio.gather(
        *(
            engine.score(
                asked(PROMPTS[index % 3]),
                completion,
                cut(len(completion)),
                window=OPEN,
                deadline=LATER,
                closing=closing[index],
            )
            for index, completion in enumerate(completions)
        )
    )
    assert engine.backbone.passes < len(completions)
    for index, (completion, answer) in enumerate(zip(completions, answers, strict=True)):
        prompt_ids = tokenizer(PROMPTS[index % 3])["input_ids"]
        every = scores_of(model, prompt_ids, list(completion.alignment.token_ids or ()))
        expected = [every[segment.end - 1] for segment in cut(len(completion))]
        if closing[index]:
            expected[-1] = every[-1]
        assert answer.values == pytest.approx(expected, abs=1e-5)
        assert answer.intake.usage.prompt_tokens == len(prompt_ids) + len(completion) + closing[index]
        assert not answer.intake.transferred
    await engine.close()


async def test_neighbours_change_nothing(keep: Callable[..., EngineSettings]) -> None:
    """An item scores the same alone, in company, and in other company."""
    torch.manual_seed(0)
    settings = keep(llama())
    engine = await SegmentScorer.open(settings)
    completions = await completed(settings, *ragged(20))

    async def score(completion: Completion) -> tuple[float, ...]:
        segments = cut(len(completion))
        return (await engine.score(asked("Write."), completion, segments, window=OPEN, deadline=LATER)).values

    alone = [await score(completion) for completion in completions]
    for chosen in (range(20), range(19, -1, -1), range(0, 20, 3)):
        together = await asyncio.gather(*(score(completions[index]) for index in chosen))
        for index, values in zip(chosen, together, strict=True):
            assert values == pytest.approx(alone[index], abs=1e-5)
    await engine.close()


def released(folder: Path, prefix: str = "score", **config: Any) -> None:
    """Turn a token-classification checkpoint into the layout of the released segment models."""
    tensors = load_file(folder / "model.safetensors")
    tensors = {key.replace("score.", f"{prefix}."): value for key, value in tensors.items()}
    tensors.pop(f"{prefix}.bias", None)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    settled = json.loads((folder / "config.json").read_text())
    settled |= {"architectures": ["RewardModel"], "value_head_prefix": prefix, **config}
    (folder / "config.json").write_text(json.dumps(settled))


async def test_every_layout_gives_the_same_scores(keep: Callable[..., EngineSettings]) -> None:
    """Identical weights score alike in our own format, as sequence classification, released, and as an allowed .bin."""
    torch.manual_seed(0)
    own = llama()
    own.score.bias.data.zero_()
    sequence = LlamaForSequenceClassification(LlamaConfig(**SHAPE))
    sequence.load_state_dict(own.state_dict(), strict=False)
    layouts = [keep(own), keep(sequence), keep(own), keep(own), keep(own)]
    statistics = {"normalize_reward": True, "mean": 3.0, "std": 2.0, "id2label": {"0": "a", "1": "b"}}
    released(Path(str(layouts[2].model)), **statistics)
    released(Path(str(layouts[3].model)), "value_head")
    folder = Path(str(layouts[4].model))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="allow_pickle"):
        await SegmentScorer.open(layouts[4])
    layouts[4] = layouts[4].model_copy(update={"allow_pickle": True})
    answers = []
    for settings in layouts:
        engine = await SegmentScorer.open(settings)
        (completion,) = await completed(settings, "the film was bad; seen!")
        answers.append(
            await engine.score(asked("Write."), completion, cut(len(completion)), window=OPEN, deadline=LATER)
        )
        await engine.close()
    assert len(answers[0].values) > 2
    assert all(answer == answers[0] for answer in answers)


async def test_a_checkpoint_in_shards_is_one_checkpoint(
    keep: Callable[..., EngineSettings], reading_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """The head is found in whichever shard holds it."""
    torch.manual_seed(0)
    model = llama()
    whole = keep(model)
    model.save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    reading_tokenizer.save_pretrained(tmp_path / "shards")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    (completion,) = await completed(whole, "the film")
    answers = []
    for settings in (whole, whole.model_copy(update={"model": str(tmp_path / "shards")})):
        engine = await SegmentScorer.open(settings)
        answers.append(
            await engine.score(asked("a"), completion, cut(len(completion)), window=OPEN, deadline=LATER)
        )
        await engine.close()
    assert answers[0] == answers[1]


async def test_a_16_bit_backbone_has_a_float32_head(keep: Callable[..., EngineSettings]) -> None:
    """The product is of float32 numbers: what the backbone said, times the head as stored."""
    torch.manual_seed(0)
    model = llama()
    settings = keep(model).model_copy(update={"dtype": "bfloat16"})
    engine = await SegmentScorer.open(settings)
    (completion,) = await completed(settings, "the film was bad; seen!")
    answer = await engine.score(asked("a"), completion, cut(len(completion)), window=OPEN, deadline=LATER)
    ids = [*(await completed(settings, "a"))[0].alignment.token_ids, *completion.alignment.token_ids]
    with torch.no_grad():
        backbone = AutoModel.from_pretrained(settings.model, dtype=torch.bfloat16).eval()
        hidden_td = backbone(input_ids=torch.tensor([ids])).last_hidden_state[0]
        expected_t = hidden_td.float() @ model.score.weight[0].float() + model.score.bias.float()
    places = [len(ids) - len(completion) + segment.end - 1 for segment in cut(len(completion))]
    assert answer.values == pytest.approx(expected_t[places].tolist(), abs=1e-5)
    await engine.close()


async def test_the_card_comes_along(keep: Callable[..., EngineSettings]) -> None:
    """``assay.json`` beside the weights is parsed and part of the revision; none is no card."""
    settings = keep(llama())
    bare = await SegmentScorer.open(settings)
    (Path(str(settings.model)) / "assay.json").write_text('{"c_ent": 1.75}')
    carded = await SegmentScorer.open(settings)
    assert (bare.card, carded.card) == (None, {"c_ent": 1.75})
    assert bare.model.revision != carded.model.revision
    await bare.close()
    await carded.close()


def two_heads(folder: Path) -> None:
    """Put a second scalar head beside the first."""
    tensors = load_file(folder / "model.safetensors")
    tensors["other.weight"] = tensors["score.weight"].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def no_layer(folder: Path) -> None:
    """Lose a tensor of the backbone."""
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("model", "change", "says"),
    [
        (lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)), None, "no scalar head"),
        (
            lambda: LlamaForTokenClassification(LlamaConfig(**SHAPE | {"num_labels": 3})),
            None,
            "head of 3 labels",
        ),
        (llama, two_heads, "several scalar heads, other, score: name .* `value_head_prefix`"),
        (llama, no_layer, "lacks 1 of the backbone's tensors, such as layers.1.mlp.up_proj.weight"),
        (
            lambda: BertForTokenClassification(
                BertConfig(
                    vocab_size=420,
                    hidden_size=64,
                    intermediate_size=64,
                    num_hidden_layers=1,
                    num_attention_heads=2,
                    num_labels=1,
                )
            ),
            None,
            "reads both ways",
        ),
    ],
    ids=["language model", "classifier", "two heads", "hole", "bidirectional"],
)
async def test_what_is_no_segment_model_is_refused(
    model: Callable[[], PreTrainedModel],
    change: Callable[[Path], None] | None,
    says: str,
    keep: Callable[..., EngineSettings],
) -> None:
    """At the door, with what to do; nothing is ever initialized at random."""
    settings = keep(model())
    if change is not None:
        change(Path(str(settings.model)))
    with pytest.raises(ValueError, match=says):
        await SegmentScorer.open(settings)


async def test_two_heads_are_told_apart_by_the_config(keep: Callable[..., EngineSettings]) -> None:
    """``value_head_prefix`` says which one is read."""
    settings = keep(llama())
    two_heads(Path(str(settings.model)))
    config = Path(str(settings.model)) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"value_head_prefix": "other"}))
    engine = await SegmentScorer.open(settings)
    assert await engine.ready()
    await engine.close()
    assert not await engine.ready()


async def test_nothing_to_score_asks_nobody(
    engine: SegmentScorer, keep: Callable[..., EngineSettings]
) -> None:
    """Without segments there are no scores and no forward pass, even for an empty completion."""
    before = engine.backbone.passes
    (completion,) = await completed(keep(llama()), "")
    answer = await engine.score(asked("a"), completion, (), window=OPEN, deadline=LATER, closing=True)
    assert (answer.values, engine.backbone.passes) == ((), before)
    with pytest.raises(ValueError, match="without tokens"):
        await engine.score(asked("a"), completion, (Segment(0, 0),), window=OPEN, deadline=LATER)


async def test_a_deadline_stops_the_work(engine: SegmentScorer, keep: Callable[..., EngineSettings]) -> None:
    """One that has passed costs nothing."""
    before = engine.backbone.rows
    (completion,) = await completed(keep(llama()), "the film")
    with pytest.raises(AnnotationFailed) as failed:
        await engine.score(asked("a"), completion, (Segment(0, 1),), window=OPEN, deadline=Deadline.after(-1))
    assert failed.value.kind is FailureKind.PAST_DEADLINE
    assert engine.backbone.rows == before


async def test_a_caller_who_goes_costs_nothing(
    engine: SegmentScorer, keep: Callable[..., EngineSettings]
) -> None:
    """Of many long rows whose callers leave at once, few are ever read."""
    (completion,) = await completed(keep(llama()), "the " * 200)
    before = engine.backbone.rows

    def score() -> Any:
        return engine.score(asked("a"), completion, (Segment(0, 9),), window=OPEN, deadline=LATER)

    tasks = [asyncio.create_task(score()) for _ in range(100)]
    while engine.backbone.rows == before:  # noqa: ASYNC110  # what counts is what the model's thread has done
        await asyncio.sleep(0.001)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await score()
    assert engine.backbone.rows - before <= 3 * (CPU_PASS_TOKENS // len(completion) + 1)


async def test_numbers_that_are_not_finite_fail_their_row(keep: Callable[..., EngineSettings]) -> None:
    """A NaN is a failure and never a score; the neighbours do not notice."""
    torch.manual_seed(0)
    model = llama()
    settings = keep(model)
    good, bad = await completed(settings, "the film", "film ☕")
    poisoned = set(bad.alignment.token_ids or ()) - set(good.alignment.token_ids or ())
    model.get_input_embeddings().weight.data[list(poisoned)] = float("nan")
    engine = await SegmentScorer.open(keep(model))

    def score(completion: Completion) -> Any:
        return engine.score(asked("a"), completion, cut(len(completion)), window=OPEN, deadline=LATER)

    alone = await score(good)
    outcomes = await asyncio.gather(score(bad), score(good), return_exceptions=True)
    assert isinstance(outcomes[0], AnnotationFailed)
    assert "not finite" in outcomes[0].detail
    assert outcomes[1].values == pytest.approx(alone.values, abs=1e-5)
    await engine.close()


async def test_tokens_of_another_kind_are_read_at_the_same_characters(
    keep: Callable[..., EngineSettings],
    tokenizer_folders: Path,
    reading_tokenizer: PreTrainedTokenizerFast,
) -> None:
    """A policy with a SentencePiece tokenizer: its ends snap to the model's tokens, and the answer says so."""
    torch.manual_seed(0)
    model = llama()
    engine = await SegmentScorer.open(keep(model))
    text = "The cabbie yells don't café ☕ naïve!"
    (theirs,) = await Aligner(tokenizer_folders / "llama2").align_all([RawCompletion(text=text)])
    assert isinstance(theirs, Completion)
    answer = await engine.score(asked("Write."), theirs, cut(len(theirs)), window=OPEN, deadline=LATER)
    assert answer.intake.transferred
    prompt = reading_tokenizer("Write.")["input_ids"]
    own = reading_tokenizer(text, return_offsets_mapping=True)
    every = scores_of(model, prompt, own["input_ids"])
    for segment, value in zip(cut(len(theirs)), answer.values, strict=True):
        last = theirs.alignment.token_spans[segment.end - 1]
        if not last:
            continue
        place = max(
            index for index, (start, end) in enumerate(own["offset_mapping"]) if start < last.end <= end
        )
        assert value == pytest.approx(every[place], abs=1e-5)
    with pytest.raises(AnnotationFailed) as failed:
        await engine.score(
            asked("a"), theirs, cut(len(theirs)), window=Window(transfer=False), deadline=LATER
        )
    assert failed.value.kind is FailureKind.UNALIGNED
    await engine.close()
