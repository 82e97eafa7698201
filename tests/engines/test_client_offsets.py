"""Offsets that the client works out are those that the service would have found, on real tokenizers of every kind."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

import assay
from assay.offsets import decoded_offsets, encoded_offsets
from assayd.domain.text import Alignment
from assayd.engines.alignment import PolicyTokenizer
from assayd.engines.alignment_loading import load

EXACT = ("gpt2", "roberta", "qwen", "llama2", "gemma", "t5")
NASTY = [
    "👩‍👩‍👧‍👦", "👍🏽", "☕\ufe0f", "e\u0301", "é", "각", "東京", "𝔘", " ", "  ", "\n", "\r\n", "\u00a0", "</s>", "<s>",
    "<|im_end|>", "<think>", "<tool call>", "<0xE2>", "▁", "Ġ", "\x00", "\ufffd", "not", "bad", " good",
]  # fmt: skip
texts = st.lists(
    st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=["Cs"]), max_size=4)),
    max_size=10,
).map("".join)
id_lists = st.lists(st.integers(0, 10_000), max_size=24)
thorough = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="session")
def policies(tokenizer_folders: Path) -> dict[str, PolicyTokenizer]:
    """The service's own loading of the same tokenizers."""
    return {name: load(str(tokenizer_folders / name)) for name in (*EXACT, "exotic", "bert", "openai_gpt")}


@pytest.fixture(params=EXACT)
def kind(request: pytest.FixtureRequest) -> str:
    """The kinds of tokenizer that policies of today have."""
    name: str = request.param
    return name


def spans(alignment: Alignment) -> list[tuple[int, int]]:
    """An alignment as offsets."""
    return [(span.start, span.end) for span in alignment.token_spans]


@thorough
@given(numbers=id_lists)
def test_any_ids_have_the_offsets_of_the_service(
    zoo: dict[str, Tokenizer], policies: dict[str, PolicyTokenizer], kind: str, numbers: list[int]
) -> None:
    """Ids at random: broken UTF-8, special tokens in the middle, added tokens. Text and every span agree."""
    ids = [number % zoo[kind].get_vocab_size() for number in numbers]
    text, offsets = decoded_offsets(zoo[kind], ids)
    alignment, _ = policies[kind].align(ids)
    assert text == alignment.text == zoo[kind].decode(ids)
    assert offsets == spans(alignment)
    # What the service then makes of text and offsets is the same alignment again.
    assert spans(Alignment.from_offsets(text, offsets)) == offsets


@thorough
@given(text=texts)
def test_a_text_is_cut_as_the_service_cuts_it(
    zoo: dict[str, Tokenizer], policies: dict[str, PolicyTokenizer], kind: str, text: str
) -> None:
    """A text that came without ids: every span agrees, lossy tokenizers included.

    But for RoBERTa's, whose own offsets, which count where a marker within the text takes some of it away, are trimmed
    by characters that are no spaces: the service refuses such a rollout as `unaligned`.
    """
    alignment, _ = policies[kind].encode(text)
    ids = zoo[kind].encode(text, add_special_tokens=False).ids
    if kind != "roberta" or zoo[kind].decode(ids, skip_special_tokens=False) in (text, f" {text}"):
        offsets = encoded_offsets(zoo[kind], text)
        assert offsets == spans(alignment)
        assert spans(Alignment.from_offsets(text, offsets)) == offsets


@thorough
@given(text=texts)
def test_a_decoder_that_is_not_known_is_watched(
    zoo: dict[str, Tokenizer], policies: dict[str, PolicyTokenizer], text: str
) -> None:
    """Where the steps of the decoder mean nothing to the client, it learns the same spans from outside."""
    ids = zoo["exotic"].encode(text.replace("\ufffd", "")).ids
    decoded, offsets = decoded_offsets(zoo["exotic"], ids)
    alignment, _ = policies["exotic"].align(ids)
    assert decoded == alignment.text
    assert offsets == spans(alignment)


class Opaque:
    """A tokenizer of Python code, of which only ``encode`` and ``decode`` are known."""

    all_special_ids = ()

    def __init__(self, inner: Tokenizer) -> None:
        self._inner = inner

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        """As transformers spells it."""
        text: str = self._inner.decode(ids, skip_special_tokens=skip_special_tokens)
        return text

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """As transformers spells it."""
        ids: list[int] = self._inner.encode(text, add_special_tokens=add_special_tokens).ids
        return ids


def test_a_tokenizer_of_python_code_will_do(
    zoo: dict[str, Tokenizer], policies: dict[str, PolicyTokenizer]
) -> None:
    """One that only decodes is enough, also over many windows and with characters cut in several tokens."""
    text = "Café ☕ naïve, Ok 👍🏽 bad; 東京は今日も雨です。" * 40
    ids = zoo["gpt2"].encode(text).ids
    decoded, offsets = decoded_offsets(Opaque(zoo["gpt2"]), ids)
    assert decoded == text
    assert offsets == spans(policies["gpt2"].align(ids)[0])
    assert encoded_offsets(Opaque(zoo["gpt2"]), text) == offsets


def test_a_completion_cut_off_within_a_character(zoo: dict[str, Tokenizer]) -> None:
    """The tokens of a character that never ended share its U+FFFD, whoever reads them."""
    ids = [zoo["gpt2"].token_to_id(one) for one in ("o", "ð", "Ł", "ĳ")]
    for tokenizer in (zoo["gpt2"], Opaque(zoo["gpt2"])):
        assert decoded_offsets(tokenizer, ids) == ("o\ufffd", [(0, 1), (1, 2), (1, 2), (1, 2)])


def test_words_split_by_spaces_of_the_decoder_still_cover_their_letters(
    zoo: dict[str, Tokenizer], policies: dict[str, PolicyTokenizer]
) -> None:
    """WordPiece is no policy's, but is not refused: the service takes the offsets."""
    text, offsets = decoded_offsets(zoo["bert"], zoo["bert"].encode("not good, not bad").ids)
    assert text == "not good, not bad"
    assert spans(Alignment.from_offsets(text, offsets)) == offsets
    assert len(offsets) == 5


def test_a_rollout_in_each_way(zoo: dict[str, Tokenizer]) -> None:
    """Ids for a public tokenizer, offsets for a private one, text alone; a tokenizer of transformers as it comes."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(zoo["gpt2"].to_str()), eos_token="</s>"
    )
    ids = tokenizer("not bad", add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    public = assay.rollout("p", token_ids=ids, id="a", extrinsic_reward=1.0)
    assert public == {"prompt": "p", "completion": {"token_ids": ids}, "id": "a", "extrinsic_reward": 1.0}
    private = assay.rollout("p", token_ids=ids, tokenizer=tokenizer, truncated=True)["completion"]
    assert private["text"] == "not bad"
    assert len(private["offsets"]) == len(ids)
    assert private["offsets"][-1] == (7, 7)
    assert private["truncated"] is True
    assert "token_ids" not in private
    cut = assay.rollout("p", text="not bad", tokenizer=tokenizer)["completion"]
    assert cut["offsets"] == private["offsets"][:-1]
    assert assay.rollout("p", text="not bad")["completion"] == {"text": "not bad"}


def test_what_no_rollout_can_be_made_of(zoo: dict[str, Tokenizer]) -> None:
    """Nothing at all, a text beside the ids that say it, an id that is none."""
    with pytest.raises(ValueError, match="needs token_ids or text"):
        assay.rollout("p")
    with pytest.raises(ValueError, match="leave text out"):
        assay.rollout("p", token_ids=[1], text="x", tokenizer=zoo["gpt2"])
    with pytest.raises(assay.Unaligned, match="the id 100000, which"):
        assay.rollout("p", token_ids=[100_000], tokenizer=zoo["gpt2"])
