"""A tiny reward model with faults that real ones have: a token without an embedding, one whose numbers overflow."""

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

UNKNOWN = "<|tool|>"
"""A token that was added to the tokenizer and not to the model: its id lies past the embeddings."""
OVERFLOWING = "~"
"""A token whose embedding is not finite."""


def make(folder: Path, seed: int) -> None:
    """Write the model of a seed."""
    disable_progress_bar()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bare = Tokenizer(models.BPE({letter: index for index, letter in enumerate(alphabet)}, merges=[]))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bare.decoder = decoders.ByteLevel()
    bare.add_special_tokens(["<pad>", "<end>"])
    vocabulary = bare.get_vocab_size()
    bare.add_tokens([AddedToken(UNKNOWN, normalized=False)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="<pad>", eos_token="<end>", model_max_length=1024
    )
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        initializer_range=0.2,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForSequenceClassification(config)
    model.model.embed_tokens.weight.data[tokenizer.convert_tokens_to_ids(OVERFLOWING)] = torch.inf
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
