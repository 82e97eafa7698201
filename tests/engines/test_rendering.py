"""A prompt and a completion become the ids that a model reads, and places in them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from assayd.domain.failure import AnnotationFailed, FailureKind
from assayd.domain.ports import Window
from assayd.domain.provenance import ModelRef
from assayd.domain.rollout import Completion, Message, Role
from assayd.domain.text import Alignment, Span
from assayd.engines.alignment_loading import load
from assayd.engines.prompts import left_truncated
from assayd.engines.rendering import Renderer
from assayd.engines.tokenizers import Aligner, RawCompletion
from assayd.engines.transformers.loading import Loaded

SHAPE: dict[str, Any] = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "max_position_embeddings": 64,
}
EOS = 1
PAD = 0
OPEN = Window()
TEMPLATE = (
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)


def asked(text: str) -> tuple[Message, ...]:
    """One turn of a user."""
    return (Message(Role.USER, text),)


def renderer(
    tokenizer: PreTrainedTokenizerFast, vocabulary: int = 420, max_model_len: int | None = None
) -> Renderer:
    """The way into a tiny Llama with that tokenizer."""
    model = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **SHAPE))
    return Loaded(model, tokenizer, ModelRef("tiny", "1")).renderer(max_model_len)


def with_bos(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The same tokenizer, which puts ``<s>`` in front of every text."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", PAD)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


@pytest.fixture
def sent(tokenizer_folders: Path) -> Callable[..., Completion]:
    """A completion of the byte-level policy: its ids, and what follows them."""
    policy = load(str(tokenizer_folders / "gpt2"))

    def sent(text: str, *after: int, truncated: bool = False) -> Completion:
        ids = (*(policy.encode(text)[0].token_ids or ()), *after)
        return Completion(*policy.align(ids), truncated=truncated)

    return sent


def test_ids_that_mean_the_same_are_kept(
    reading_tokenizer: PreTrainedTokenizerFast, sent: Callable[..., Completion]
) -> None:
    """Prompt and ids stand side by side, and every token, special ones too, is its own place."""
    completion = sent("not good ☕", EOS, PAD)
    reading = renderer(reading_tokenizer).render(asked("the film"), completion, OPEN)
    prompt = reading_tokenizer("the film")["input_ids"]
    assert reading.ids == (*prompt, *(completion.alignment.token_ids or ()))
    assert reading.places == tuple(range(len(prompt), len(reading.ids)))
    assert (reading.own, reading.intake.transferred, reading.start) == (None, False, len(prompt))
    assert reading.end == len(reading.ids) - 2


@pytest.mark.parametrize(
    ("after", "truncated", "closing", "added", "end"),
    [
        ((), False, True, 1, -1),
        ((), False, False, 0, -1),
        ((), True, True, 0, -1),
        ((EOS,), False, True, 0, -1),
        ((EOS, PAD, PAD), False, True, 0, -3),
        ((PAD,), True, True, 0, -1),
    ],
    ids=["finished", "not asked for", "truncated", "has one", "padded", "another marker"],
)
def test_the_end_marker_is_added_where_there_is_none(
    after: tuple[int, ...],
    truncated: bool,
    closing: bool,
    added: int,
    end: int,
    reading_tokenizer: PreTrainedTokenizerFast,
    sent: Callable[..., Completion],
) -> None:
    """Behind a completion that was finished, when it is to be read; the first special token is the end."""
    completion = sent("bad", *after, truncated=truncated)
    reading = renderer(reading_tokenizer).render(asked("a"), completion, OPEN, closing=closing)
    kept = reading.ids[reading.start :]
    assert kept == (*(completion.alignment.token_ids or ()), *(EOS,) * added)
    assert reading.end == len(reading.ids) + end


def test_offsets_with_ids_are_kept_too(
    reading_tokenizer: PreTrainedTokenizerFast, sent: Callable[..., Completion]
) -> None:
    """A trainer who sends ids and offsets does not say which tokens are special; the model knows."""
    known = sent("bad film", EOS)
    untold = Completion(known.alignment)
    reading = renderer(reading_tokenizer).render(asked("a"), untold, Window(transfer=False), closing=True)
    assert reading.ids[reading.start :] == known.alignment.token_ids
    assert reading.end == len(reading.ids) - 1


@pytest.mark.parametrize("kind", ["llama2", "gemma", "t5", "bert", "openai_gpt"])
async def test_other_tokens_end_at_the_same_characters(
    kind: str, reading_tokenizer: PreTrainedTokenizerFast, tokenizer_folders: Path
) -> None:
    """The place of a policy token is the model's token with its last character; a marker is the model's own."""
    text = "The cabbie yells; Café 👍 naïve, isn't joking"
    aligner = Aligner(tokenizer_folders / kind)
    (body,) = await aligner.align_all([RawCompletion(text=text)])
    assert isinstance(body, Completion)
    special = frozenset({len(body), len(body) + 1})
    markers = (Span(len(text), len(text)),) * 2
    alignment = Alignment(text, None, (*body.alignment.token_spans, *markers))
    reading = renderer(reading_tokenizer).render(asked("a"), Completion(alignment, special), OPEN)
    own = reading_tokenizer(text, return_offsets_mapping=True)
    assert reading.ids[reading.start :] == (*own["input_ids"], EOS)
    assert reading.intake.transferred
    for place, span in zip(reading.places, alignment.token_spans, strict=True):
        if span:
            start, end = own["offset_mapping"][place - reading.start]
            assert start < span.end <= end
    assert reading.places[-2:] == (reading.end, reading.end) == (len(reading.ids) - 1,) * 2
    assert list(reading.places) == sorted(reading.places)


def test_a_token_without_text_reads_at_the_token_before(reading_tokenizer: PreTrainedTokenizerFast) -> None:
    """In the middle that is its neighbour, at the very start the prompt's last token."""
    spans = (Span(0, 0), Span(0, 3), Span(3, 3), Span(3, 5))
    reading = renderer(reading_tokenizer).render(
        asked("a"), Completion(Alignment("badly", None, spans)), OPEN
    )
    before, bad, middle, _ = reading.places
    assert before == reading.start - 1
    assert middle == bad


def test_a_special_token_spelled_in_a_text_is_text(reading_tokenizer: PreTrainedTokenizerFast) -> None:
    """What a policy writes cannot end the text it is judged in."""
    text = "bad </s> film"
    completion = Completion(Alignment(text, None, (Span(0, len(text)),)))
    reading = renderer(reading_tokenizer).render(asked("a"), completion, OPEN, closing=True)
    assert EOS not in reading.ids[reading.start : -1]
    assert reading.ids[-1] == EOS
    assert reading_tokenizer.decode(reading.ids[reading.start : -1]) == text


def test_tokens_that_read_otherwise_can_be_refused(
    reading_tokenizer: PreTrainedTokenizerFast, sent: Callable[..., Completion]
) -> None:
    """With ``transfer`` off only the model's own reading of the ids will do."""
    strict, way_in = Window(transfer=False), renderer(reading_tokenizer)
    assert way_in.render(asked("a"), sent("bad"), strict).own is None
    ids = sent("bad").alignment.token_ids
    for other in (
        Alignment("bad", None, (Span(0, 3),)),
        Alignment("so bad", tuple(range(7, 7 + len(ids or ()))), (Span(0, 6),) * len(ids or ())),
    ):
        with pytest.raises(AnnotationFailed, match="allow `transfer`") as failed:
            way_in.render(asked("a"), Completion(other), strict)
        assert failed.value.kind is FailureKind.UNALIGNED


@pytest.mark.parametrize("longest", [1, 5, 12, 1000])
@pytest.mark.parametrize("template", [None, TEMPLATE])
def test_the_left_is_cut_as_the_tokenizer_itself_would(
    longest: int, template: str | None, reading_tokenizer: PreTrainedTokenizerFast
) -> None:
    """``truncation_side="left"`` gives the same ids, with and without a chat template; what is lost is counted."""
    text = "the film was not good, not bad. It's the most amazing thing we've seen"
    for tokenizer in (
        with_bos(reading_tokenizer),
        PreTrainedTokenizerFast(tokenizer_object=reading_tokenizer.backend_tokenizer),
    ):
        tokenizer.chat_template, tokenizer.truncation_side = template, "left"
        ids, dropped = left_truncated(tokenizer, asked(text), longest)
        written = text
        if template:
            written = tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
            )
        whole = tokenizer(written, add_special_tokens=not template)["input_ids"]
        cut = tokenizer(written, add_special_tokens=not template, truncation=True, max_length=longest)
        assert ids == cut["input_ids"]
        assert dropped == len(whole) - len(ids)


def test_a_completion_is_never_cut(
    reading_tokenizer: PreTrainedTokenizerFast, sent: Callable[..., Completion]
) -> None:
    """The smallest of the three limits counts; the failure gives the numbers and says what to do."""
    completion = sent("film film film film")
    size = len(completion) + 1
    for way_in, window, limit in (
        (renderer(reading_tokenizer), Window(max_length=size), size),
        (renderer(reading_tokenizer, max_model_len=size), OPEN, size),
        (renderer(reading_tokenizer), OPEN, 64),
    ):
        prompt = asked("a" if limit == size else "film " * 80)
        spent = len(reading_tokenizer(prompt[0].content)["input_ids"])
        if limit == size:
            assert len(way_in.render(prompt, completion, window).ids) == size
        with pytest.raises(AnnotationFailed) as failed:
            way_in.render(prompt, completion, window, closing=True)
        assert failed.value.kind is FailureKind.TOO_LONG
        for number in (spent, size, limit):
            assert str(number) in failed.value.detail
        assert "`max_prompt_length`" in failed.value.detail
    cut = Window(max_prompt_length=64 - size)
    reading = renderer(reading_tokenizer).render(asked("film " * 80), completion, cut, closing=True)
    assert (len(reading.ids), reading.intake.prompt_length) == (64, 64 - size)
    assert reading.intake.prompt_tokens_dropped == spent - (64 - size)


def test_an_empty_prompt_gives_the_first_token_a_place_before(
    reading_tokenizer: PreTrainedTokenizerFast, sent: Callable[..., Completion]
) -> None:
    """BOS if the tokenizer has one, else EOS, also when all of the prompt was cut off; with neither it fails."""
    completion, backend = sent("bad"), reading_tokenizer.backend_tokenizer
    for markers, first in (({"bos_token": "<s>", "eos_token": "</s>"}, PAD), ({"eos_token": "</s>"}, EOS)):
        way_in = renderer(PreTrainedTokenizerFast(tokenizer_object=backend, **markers))
        for prompt, window in (((), OPEN), (asked("film"), Window(max_prompt_length=0))):
            reading = way_in.render(prompt, completion, window)
            assert reading.ids == (first, *(completion.alignment.token_ids or ()))
    with pytest.raises(AnnotationFailed, match="send a prompt") as failed:
        renderer(PreTrainedTokenizerFast(tokenizer_object=backend)).render((), completion, OPEN)
    assert failed.value.kind is FailureKind.ENGINE


def test_without_a_prompt_a_template_shows_an_empty_message(
    reading_tokenizer: PreTrainedTokenizerFast,
) -> None:
    """Templates refuse an empty conversation; a completion alone is still shown in the form that training had."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=reading_tokenizer.backend_tokenizer)
    tokenizer.chat_template = TEMPLATE
    assert left_truncated(tokenizer, (), None) == left_truncated(tokenizer, asked(""), None)


def test_ids_past_the_embeddings_are_refused(
    reading_tokenizer: PreTrainedTokenizerFast, sent: Callable[..., Completion]
) -> None:
    """A tokenizer that knows more words than the model fails that item before the model sees it."""
    completion = sent("film")
    small = max(completion.alignment.token_ids or ())
    with pytest.raises(AnnotationFailed, match="past the model's embeddings") as failed:
        renderer(reading_tokenizer, vocabulary=small).render(asked("a"), completion, OPEN)
    assert failed.value.kind is FailureKind.ENGINE
