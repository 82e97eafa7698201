"""The tokenizer of the embedded models: byte-level BPE made from the training corpora, each digit one token."""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from .pocket_prompt import END, PAD, SPECIAL_TOKENS

VOCABULARY_SIZE = 2048
MAX_POSITIONS = 2048
# A digit stands alone. A run of signs takes the spaces and the line break around it along, so that "13 * 2" has four
# tokens and a numbered line begins with one.
_PIECES = (
    r"\p{N}|\s?[^\s\p{L}\p{N}](?: ?[^\s\p{L}\p{N}])* ?(?=\p{N})|\s?[^\s\p{L}\p{N}](?: ?[^\s\p{L}\p{N}])*"
    r"| ?\p{L}+|\s+(?!\S)|\s"
)


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Learn the merges from these texts. Decoding an encoding gives the text back, whatever the text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, directory: Path, *, chat_template: str | None = None) -> None:
    """Write the two files that transformers and tokenizers load; where there is a chat template, with it."""
    tokenizer.save(str(directory / "tokenizer.json"))
    config: dict[str, object] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": MAX_POSITIONS,
        "eos_token": END,
        "pad_token": PAD,
        "padding_side": "left",
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
    }
    if chat_template is not None:
        config["chat_template"] = chat_template
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a special token; KeyError if the tokenizer has none such."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise KeyError(f"the tokenizer has no token {token}")
    return found
