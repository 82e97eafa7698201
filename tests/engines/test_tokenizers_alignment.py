"""Facts about the characters that policy tokens stand for, on real tokenizers of every kind."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from assayd.domain.text import Alignment, Segment, Span, Unaligned
from assayd.engines.alignment import PolicyTokenizer
from assayd.engines.alignment_decoding import probe
from assayd.engines.alignment_loading import load

LOSSLESS = ("gpt2", "roberta", "qwen", "llama2", "gemma", "exotic")
KINDS = (*LOSSLESS, "t5", "bert", "openai_gpt", "words")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

NASTY = [
    "👩‍👩‍👧‍👦", "👍🏽", "🇩🇪", "☕\ufe0f", "e\u0301", "é", "ñ", "n\u0303", "ﬁ", "각", "가", "東京", "は", "𝔘", "\u200d",
    " ", "  ", "\n", "\r\n", "\n\n\n", "\t", "\u00a0", "\u3000", "</s>", "<s>", "<|im_end|>", "<think>", "<tool call>",
    "<0xE2>", "▁", "Ġ", "##", "</w>", "\x00", REPLACEMENT, "İ", "ß", ".", " .", "n't", " 's", "bad", "good", "not",
]  # fmt: skip
texts = st.lists(
    st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=["Cs"]), max_size=4)),
    max_size=10,
).map("".join)
id_lists = st.lists(st.integers(0, 10_000), max_size=16)
thorough = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


class Policies(dict[str, PolicyTokenizer]):
    """Policy tokenizers by the name of their kind."""


@pytest.fixture(scope="session")
def policies(tokenizer_folders: Path) -> Policies:
    """The same tokenizers, loaded from their folders and ready to align."""
    return Policies({folder.name: load(str(folder)) for folder in tokenizer_folders.iterdir()})


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of tokenizer."""
    name: str = request.param
    return name


def ids_in(tokenizer: Tokenizer, numbers: list[int]) -> list[int]:
    """Any numbers as ids of the vocabulary."""
    return [number % tokenizer.get_vocab_size() for number in numbers]


def pieces(alignment: Alignment) -> list[str]:
    """What each token reads as."""
    return [span.of(alignment.text) for span in alignment.token_spans]


def owners(alignment: Alignment, at: int) -> list[int]:
    """The tokens that own one character."""
    return [index for index, span in enumerate(alignment.token_spans) if span.start <= at < span.end]


def assert_covered(alignment: Alignment) -> None:
    """Every character is in the segment of its span, and whatever no token owns has no ink."""
    owned = {at for span in alignment.token_spans for at in range(span.start, span.end)}
    for at, character in enumerate(alignment.text):
        segment = alignment.segment_of(Span(at, at + 1))
        if owned:
            assert len(segment) > 0
        if at in owned:
            own = owners(alignment, at)
            assert segment == Segment(own[0], own[-1] + 1)
        else:
            assert (
                character.isspace() or unicodedata.category(character)[0] in "CM" or character == REPLACEMENT
            )


@thorough
@given(numbers=id_lists)
def test_any_ids_align_to_what_they_decode_to(
    zoo: dict[str, Tokenizer], policies: Policies, kind: str, numbers: list[int]
) -> None:
    """Whatever the ids, broken UTF-8 included, the text is the tokenizer's own decode and all of it is covered."""
    ids = ids_in(zoo[kind], numbers)
    alignment, special = policies[kind].align(ids)
    assert alignment.text == zoo[kind].decode(ids)
    assert alignment.token_ids == tuple(ids)
    assert len(alignment) == len(ids)
    assert all(not alignment.token_spans[index] for index in special)
    assert_covered(alignment)


@thorough
@given(numbers=id_lists)
def test_the_text_may_be_decoded_with_special_tokens(
    zoo: dict[str, Tokenizer], policies: Policies, kind: str, numbers: list[int]
) -> None:
    """A text with the special tokens kept aligns too: they own what they read as, and are still known as special."""
    ids = ids_in(zoo[kind], numbers)
    kept = zoo[kind].decode(ids, skip_special_tokens=False)
    alignment, special = policies[kind].align(ids, kept)
    assert alignment.text == kept
    assert special == policies[kind].align(ids)[1]
    if kept != zoo[kind].decode(ids):
        names = {alignment.token_spans[index].of(kept) for index in special}
        assert names <= {"<s>", "</s>", "<|im_end|>", "<unk>", "[UNK]", "[SEP]"}
    assert_covered(alignment)


@thorough
@given(text=texts)
def test_any_text_is_cut_without_loss(
    zoo: dict[str, Tokenizer], policies: Policies, kind: str, text: str
) -> None:
    """A text alone keeps every one of its code points, and its ids are the tokenizer's own."""
    alignment, _ = policies[kind].encode(text)
    assert alignment.text == text
    assert alignment.token_ids == tuple(zoo[kind].encode(text, add_special_tokens=False).ids)
    assert_covered(alignment)


@pytest.mark.parametrize("kind", [kind for kind in LOSSLESS if kind != "exotic"])
@thorough
@given(text=texts)
def test_tokens_begin_and_end_where_prefixes_decode_to(
    zoo: dict[str, Tokenizer], policies: Policies, kind: str, text: str
) -> None:
    """Nothing is off by one: where the tokens so far decode to whole characters, one token ends and one begins."""
    tokenizer = zoo[kind]
    ids = tokenizer.encode(text.replace(REPLACEMENT, "")).ids
    alignment, _ = policies[kind].align(ids, tokenizer.decode(ids, skip_special_tokens=False))
    prefixes = [tokenizer.decode(ids[:end], skip_special_tokens=False) for end in range(len(ids) + 1)]
    for index, span in enumerate(alignment.token_spans):
        before, after = prefixes[index], prefixes[index + 1]
        # ByteFallback spoils a whole run of bytes while its last character is unfinished; so both are only bounds.
        whole = len(after.rstrip(REPLACEMENT))
        assert span.start >= len(before.rstrip(REPLACEMENT))
        assert span.end <= len(alignment.text)
        if not after.endswith(REPLACEMENT):
            assert span.end == whole
        if not before.endswith(REPLACEMENT):
            assert span.start == len(before)


@thorough
@given(text=texts, places=st.lists(st.integers(0, 40), max_size=4))
def test_special_tokens_in_the_middle_move_nothing(
    zoo: dict[str, Tokenizer], policies: Policies, kind: str, text: str, places: list[int]
) -> None:
    """Markers strewn between tokens, even between the bytes of one character, leave the others where they are."""
    marker = zoo[kind].token_to_id("<|im_end|>")
    plain = [one for one in zoo[kind].encode(text).ids if not policies[kind].align([one])[1]]
    strewn = list(plain)
    for place in places:
        strewn.insert(min(place, len(strewn)), marker)
    expected, _ = policies[kind].align(plain)
    alignment, special = policies[kind].align(strewn)
    assert special == {index for index, one in enumerate(strewn) if one == marker}
    assert alignment.text == expected.text
    rest = [span for index, span in enumerate(alignment.token_spans) if index not in special]
    assert tuple(rest) == expected.token_spans


@pytest.mark.parametrize("kind", LOSSLESS)
@thorough
@given(text=texts)
def test_watching_from_outside_sees_the_same(
    zoo: dict[str, Tokenizer], policies: Policies, kind: str, text: str
) -> None:
    """The path for unknown decoders agrees with the exact one wherever no run of bytes is spoilt midway."""
    tokenizer = zoo[kind]
    ids = tokenizer.encode(text.replace(REPLACEMENT, "")).ids
    decoded = tokenizer.decode(ids, skip_special_tokens=False)
    seen = probe(
        lambda start, end: tokenizer.decode(ids[start:end], skip_special_tokens=False), len(ids), decoded
    )
    assert seen is not None
    alignment, _ = policies[kind].align(ids, decoded)
    assert seen.text == alignment.text
    if "<0x" not in "".join(tokenizer.id_to_token(one) for one in ids):
        assert seen.spans == [(span.start, span.end) for span in alignment.token_spans]


@thorough
@given(text=texts)
def test_cleaned_up_text_aligns(zoo: dict[str, Tokenizer], policies: Policies, text: str) -> None:
    """A text whose spaces Hugging Face cleaned up aligns, and each token keeps its other characters."""
    ids = zoo["gpt2"].encode(text).ids
    decoded = zoo["gpt2"].decode(ids, skip_special_tokens=False)
    cleaned = hugging_face_clean_up(decoded)
    before, _ = policies["gpt2"].align(ids, decoded)
    after, _ = policies["gpt2"].align(ids, cleaned)
    assert after.text == cleaned
    assert [piece.replace(" ", "") for piece in pieces(after)] == [
        piece.replace(" ", "") for piece in pieces(before)
    ]


def hugging_face_clean_up(text: str) -> str:
    """As transformers 4 and 5 spell it."""
    for old, new in [
        (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"),
        (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
    ]:  # fmt: skip
        text = text.replace(old, new)
    return text


def test_u2_code_points_in_every_form(policies: Policies) -> None:
    """U2: "Café ☕ naïve" is 12 code points in NFC, 14 in NFD, 16 bytes; the cup is one character of its tokens."""
    composed = unicodedata.normalize("NFC", "Café ☕ naïve")
    decomposed = unicodedata.normalize("NFD", composed)
    assert (len(composed), len(decomposed), len(composed.encode())) == (12, 14, 16)
    for text in (composed, decomposed):
        alignment, _ = policies["gpt2"].encode(text)
        cup = text.index("☕")
        holders = owners(alignment, cup)
        assert len(holders) > 1
        assert {alignment.token_spans[index].end for index in holders} == {cup + 1}
        assert alignment.token_spans[holders[-1]] == Span(cup, cup + 1)
        assert alignment.segment_of(Span(len(text) - 5, len(text))).end == len(alignment)


def test_each_byte_of_an_emoji_owns_all_of_it(zoo: dict[str, Tokenizer], policies: Policies) -> None:
    """Four byte tokens of one emoji each own the same code point, in both spellings of bytes."""
    byte_level = [zoo["gpt2"].token_to_id(one) for one in ("o", "ð", "Ł", "ĳ", "į", "o")]
    fallback = [zoo["llama2"].token_to_id(one) for one in ("o", "<0xF0>", "<0x9F>", "<0x91>", "<0x8D>", "o")]
    for name, ids in (("gpt2", byte_level), ("llama2", fallback)):
        alignment, _ = policies[name].align(ids, "o👍o")
        assert alignment.token_spans == (Span(0, 1), *(Span(1, 2),) * 4, Span(2, 3))


def test_a_completion_cut_off_within_a_character(zoo: dict[str, Tokenizer], policies: Policies) -> None:
    """Bytes that make no character become U+FFFD just as the tokenizer's own decoder has it."""
    byte_level = [zoo["gpt2"].token_to_id(one) for one in ("o", "ð", "Ł", "ĳ")]
    alignment, _ = policies["gpt2"].align(byte_level)
    assert alignment.text == f"o{REPLACEMENT}"
    assert alignment.token_spans == (Span(0, 1), *(Span(1, 2),) * 3)
    fallback = [zoo["llama2"].token_to_id(one) for one in ("o", "<0xF0>", "<0x9F>", "<0x91>")]
    alignment, _ = policies["llama2"].align(fallback)
    assert alignment.text == f"o{REPLACEMENT * 3}"
    assert alignment.token_spans == tuple(Span(index, index + 1) for index in range(4))


def test_the_space_before_the_first_word(zoo: dict[str, Tokenizer], policies: Policies) -> None:
    """A SentencePiece completion aligns with and without the space that its first token stands for."""
    ids = [zoo["llama2"].token_to_id("▁bad"), zoo["llama2"].token_to_id("▁bad")]
    assert pieces(policies["llama2"].align(ids, "bad bad")[0]) == ["bad", " bad"]
    assert pieces(policies["llama2"].align(ids, " bad bad")[0]) == [" bad", " bad"]
    with pytest.raises(Unaligned, match=r"at character 1 the ids have 'bad bad', the text has ' bad bad'"):
        policies["llama2"].align(ids, "  bad bad")


def test_word_pieces_leave_the_spaces_between_words_to_nobody(policies: Policies) -> None:
    """A WordPiece token owns its letters only, whether the text came from ids or was cut here."""
    cut, _ = policies["bert"].encode("Not good,  not BAD")
    assert pieces(cut) == ["Not", "good", ",", "not", "BAD"]
    decoded, _ = policies["bert"].align(cut.token_ids or ())
    assert decoded.text == "not good, not bad"
    assert decoded.token_spans == (Span(0, 3), Span(4, 8), Span(8, 9), Span(10, 13), Span(14, 17))


def test_an_unknown_word_is_text_and_no_marker(policies: Policies) -> None:
    """Cutting a text, an unknown word keeps its characters; only a marker that is spelled out is special."""
    alignment, special = policies["bert"].encode("not ⰀⰁ </s>")
    assert pieces(alignment) == ["not", "ⰀⰁ", "</s>"]
    assert special == {2}


def test_added_tokens_are_text(zoo: dict[str, Tokenizer], policies: Policies) -> None:
    """An added token that is not special reads as it is written, spaces and all."""
    ids = [zoo["gpt2"].token_to_id(one) for one in ("<think>", "<tool call>", "</s>")]
    alignment, special = policies["gpt2"].align(ids)
    assert pieces(alignment) == ["<think>", "<tool call>", ""]
    assert special == {2}


def test_an_empty_completion_has_no_tokens(policies: Policies, kind: str) -> None:
    """No ids, no text, no tokens; and a completion of one end marker is one empty token."""
    for alignment, special in (
        policies[kind].align([]),
        policies[kind].align([], ""),
        policies[kind].encode(""),
    ):
        assert (alignment.text, len(alignment), special) == ("", 0, frozenset())


def test_a_completion_of_an_end_marker_only(zoo: dict[str, Tokenizer], policies: Policies, kind: str) -> None:
    """It is one special token without text."""
    alignment, special = policies[kind].align([zoo[kind].token_to_id("</s>")])
    assert alignment.token_spans == (Span(0, 0),)
    assert special == {0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not bae", "at character 6 the ids have 'd', the text has 'e'"),
        ("not", "at character 3 the ids have ' bad', the text has its end"),
        ("not bad.", "at character 7 the ids have its end, the text has '.'"),
        ("not\ud83d", r"lone surrogate U\+D83D"),
    ],
)
def test_another_text_is_refused(
    zoo: dict[str, Tokenizer], policies: Policies, text: str, message: str
) -> None:
    """A text that the ids do not decode to is refused, and the message shows where they part."""
    with pytest.raises(Unaligned, match=message):
        policies["gpt2"].align(zoo["gpt2"].encode("not bad").ids, text)


def test_a_normalized_text_is_refused_with_the_reason(zoo: dict[str, Tokenizer], policies: Policies) -> None:
    """NFC where the ids have NFD is not repaired, but named."""
    ids = zoo["gpt2"].encode("cafe\u0301").ids
    with pytest.raises(Unaligned, match="Unicode normalization only"):
        policies["gpt2"].align(ids, "caf\u00e9")


@pytest.mark.parametrize("unknown", [10_000_000, -1, 2**40])
def test_an_id_out_of_vocabulary_is_refused(policies: Policies, unknown: int) -> None:
    """The library would drop it in silence; here its place is named."""
    with pytest.raises(Unaligned, match=f"token 1 has the id {unknown}, which .*gpt2 does not know"):
        policies["gpt2"].align([1, unknown])
