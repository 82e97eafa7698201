"""Tiny tokenizers, and reward models with random weights in every layout."""

import json
import random
from pathlib import Path
from typing import Any, Final

from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForTokenClassification,
    Phi3Config,
    Phi3ForTokenClassification,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForSequenceClassification,
)

PROMPTS: Final = Path(__file__).parents[2] / "prompts"
CONTEXT: Final = 4096
END: Final = "<|im_end|>"
TEMPLATE: Final = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS: Final = "the cabbie yells don't café ☕ naïve bad; film 1 + 2 = 3 東京 return seen! 👨‍👩‍👧".split()


def line_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of the prompts, which it writes in few tokens, with a chat template."""
    # Fewer than EXACT_VOCABULARY, so that entropies are exact.
    return _prompt_tokenizer(r"[^\n]*\n", 3600)


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE that no token of goes beyond a word, as in large models, with a chat template."""
    return _prompt_tokenizer(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+", 3000)


def _prompt_tokenizer(pieces: str, vocabulary: int) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(pieces), "isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|im_start|>", END],
        show_progress=False,
    )
    prompts = [path.read_text(encoding="utf-8") for path in sorted(PROMPTS.rglob("*.md"))]
    tokenizer.train_from_iterator([*prompts, *["Yes", "No"] * 100], trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)
    made.chat_template = TEMPLATE
    return made


def letter_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, no chat template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: index for index, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)


def shape(tokenizer: PreTrainedTokenizerFast, **changes: Any) -> dict[str, Any]:
    """A configuration small enough to be made in a moment; vLLM's kernels want heads of 32 at least."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **changes,
    }


def saved(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> str:
    """The model and its tokenizer in a folder; gives its name."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def biased(folder: Path) -> str:
    """`LlamaForTokenClassification`: a head called `score`, with a bias."""
    tokenizer = line_tokenizer()
    model = LlamaForTokenClassification(LlamaConfig(**shape(tokenizer, initializer_range=0.2, num_labels=1)))
    model.score.bias.data.fill_(0.7)
    return saved(model, tokenizer, folder)


def sequence_classifier(folder: Path) -> str:
    """`Qwen2ForSequenceClassification`: a head called `score`, without one.

    transformers reads any tokenizer beside a Qwen2 as Qwen's own, which cuts these texts otherwise.
    """
    tokenizer = line_tokenizer()
    config = Qwen2Config(**shape(tokenizer, initializer_range=0.2, num_labels=1))
    return saved(Qwen2ForSequenceClassification(config), tokenizer, folder)


def released(folder: Path) -> str:
    """As the released segment models are laid out: a head of a name that the config tells; reads single bytes."""
    tokenizer = letter_tokenizer()
    model = Phi3ForTokenClassification(Phi3Config(**shape(tokenizer, initializer_range=0.2, num_labels=1)))
    name = saved(model, tokenizer, folder)
    tensors = load_file(folder / "model.safetensors")
    head = {"value_head.weight": tensors.pop("score.weight")}
    del tensors["score.bias"]
    save_file({**tensors, **head}, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    named = {
        "architectures": ["RewardModel"],
        "value_head_prefix": "value_head",
        "id2label": {"0": "a", "1": "b"},
    }
    statistics = {"normalize_reward": True, "mean": 3.0, "std": 2.0}
    (folder / "config.json").write_text(json.dumps({**config, **named, **statistics}))
    return name


def ragged(count: int, seed: int = 0) -> list[str]:
    """Distinct texts of very different lengths, in several scripts."""
    dice = random.Random(seed)
    return [
        f"{index}: " + " ".join(dice.choices(WORDS, k=dice.choice((1, 2, 5, 20, 60))))
        for index in range(count)
    ]
