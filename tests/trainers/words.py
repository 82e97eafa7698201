"""A tokenizer of a hundred words, made on the spot."""

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def word_tokenizer(chat_template: str) -> PreTrainedTokenizerFast:
    """``w0`` to ``w96``, an end marker and padding; a word that it does not know is ``?``."""
    words = ["<end>", "<pad>", "?", *[f"w{n}" for n in range(97)]]
    backend = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<end>", pad_token="<pad>", unk_token="?"
    )
    made.chat_template = chat_template
    return made
