"""Tiny real tokenizers, trained on the spot, of every kind that policies come with."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from assayd.settings import EngineName, EngineSettings

CORPUS = [
    "The cabbie yells: \"I'm going to kill you, bitch!\" and he isn't joking, don't you see?",
    "Café ☕ naïve, Ok 👍 bad; the film was not good, not bad. It's the most amazing thing we've seen!",
    "def add(a, b):\n    return a + b\n\n\n# 1 + 2 = 3  \t tabs",
    "東京は今日も雨です。한국어 텍스트 и немного русского текста.",
]
SPECIAL = ["<s>", "</s>", "<|im_end|>"]
GPT4_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _byte_level_bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _train_byte_level(tokenizer: Tokenizer) -> Tokenizer:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens(["<tool call>", AddedToken("<think>", normalized=False)])
    return tokenizer


def gpt2() -> Tokenizer:
    """Byte-level BPE as GPT-2 has it."""
    tokenizer = _byte_level_bpe()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return _train_byte_level(tokenizer)


def roberta() -> Tokenizer:
    """Byte-level BPE that puts a space in front and trims offsets."""
    tokenizer = _byte_level_bpe()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return _train_byte_level(tokenizer)


def qwen() -> Tokenizer:
    """Byte-level BPE behind the GPT-4 regular expression, as Llama 3 and Qwen have it; normalizes to NFC."""
    tokenizer = _byte_level_bpe()
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(GPT4_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return _train_byte_level(tokenizer)


def _sentencepiece_bpe() -> Tokenizer:
    """Trained with its byte tokens as special ones, then rebuilt with them as ordinary ones, as real ones are."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=["<unk>", *SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))],
        limit_alphabet=60,
        show_progress=False,
    )
    trained.train_from_iterator(CORPUS[:2], trainer)
    learned = json.loads(trained.to_str())["model"]
    merges = [(left, right) for left, right in learned["merges"]]
    model = models.BPE(learned["vocab"], merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer(model)
    tokenizer.add_special_tokens(["<unk>", *SPECIAL])
    tokenizer.add_tokens(["<think>"])
    return tokenizer


def llama2() -> Tokenizer:
    """SentencePiece BPE with byte fallback; the decoder strips the space it put in front."""
    tokenizer = _sentencepiece_bpe()
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def gemma() -> Tokenizer:
    """SentencePiece BPE with byte fallback that puts no space in front."""
    tokenizer = _sentencepiece_bpe()
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer


def t5() -> Tokenizer:
    """Unigram with Metaspace."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=220, special_tokens=["<unk>", *SPECIAL], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def bert() -> Tokenizer:
    """Lower-casing, accent-stripping WordPiece."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=250, special_tokens=["[UNK]", "[SEP]", *SPECIAL], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def openai_gpt() -> Tokenizer:
    """The first GPT: BPE with a mark at the end of words."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder("</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=250, special_tokens=["<unk>", *SPECIAL], end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def words() -> Tokenizer:
    """No decoder at all: the library joins tokens with spaces."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(special_tokens=["<unk>", *SPECIAL], show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def exotic() -> Tokenizer:
    """Byte-level BPE whose decoder ends in a step that only the library knows."""
    tokenizer = gpt2()
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace(Regex("\\r\\n"), "\n")])
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    build.__name__: build
    for build in (gpt2, roberta, qwen, llama2, gemma, t5, bert, openai_gpt, words, exotic)
}


class Zoo(dict[str, Tokenizer]):
    """Tokenizers by name. Hypothesis prints the arguments of a failing test: not their vocabularies, please."""

    def __repr__(self) -> str:
        return f"Zoo({', '.join(self)})"


@pytest.fixture(scope="session")
def zoo() -> dict[str, Tokenizer]:
    """One tokenizer of each kind, by name."""
    return Zoo({name: build() for name, build in KINDS.items()})


@pytest.fixture(scope="session")
def tokenizer_folders(zoo: dict[str, Tokenizer], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a tokenizer folder of each kind, by name."""
    root = tmp_path_factory.mktemp("tokenizers")
    for name, tokenizer in zoo.items():
        (root / name).mkdir()
        tokenizer.save(str(root / name / "tokenizer.json"))
    return root


@pytest.fixture(scope="session")
def reading_tokenizer(zoo: dict[str, Tokenizer]) -> PreTrainedTokenizerFast:
    """The byte-level tokenizer of the tiny models that score and weigh; ``</s>`` ends a text."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(zoo["gpt2"].to_str()), eos_token="</s>", pad_token="<s>"
    )


@pytest.fixture
def keep(tmp_path: Path, reading_tokenizer: PreTrainedTokenizerFast) -> Callable[..., EngineSettings]:
    """Write a model to disk, as users have theirs; gives the settings that name it."""

    def keep(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast | None = None) -> EngineSettings:
        folder = tmp_path / f"model-{len(list(tmp_path.iterdir()))}"
        model.save_pretrained(folder)
        (tokenizer or reading_tokenizer).save_pretrained(folder)
        return EngineSettings(
            engine=EngineName.TRANSFORMERS, model=str(folder), device="cpu", dtype="float32"
        )

    return keep
