"""Loads the models that trainings begin from and their tokenizers, and pins them as the service does."""

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from assayd.domain.provenance import ModelRef

MODEL_FILES: Final = {".json", ".safetensors", ".bin", ".model", ".txt", ".jinja", ".tiktoken"}


def reference(name: str | Path) -> ModelRef:
    """A model pinned as the service pins it: a folder by the digest of its files, a hub model by its commit."""
    folder = Path(name)
    if folder.is_dir():
        return ModelRef(folder.resolve().name, folder_digest(folder))
    commit = getattr(AutoConfig.from_pretrained(str(name)), "_commit_hash", None)
    return ModelRef(str(name), commit or "unpinned")


def positions_of(name: str | Path) -> int | None:
    """How many tokens a model holds, None where its config does not say."""
    config = AutoConfig.from_pretrained(str(name)).get_text_config(decoder=True)
    found: int | None = getattr(config, "max_position_embeddings", None)
    return found


def folder_digest(folder: Path) -> str:
    """``sha256:`` and the hex digest over names and contents of the model's files, as the service computes it."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in MODEL_FILES):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.name}\n{content}\n".encode())
    return f"sha256:{total.hexdigest()}"


def load_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model; raises ``ValueError`` for one that cannot pad."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(name))
    if tokenizer.pad_token is None and tokenizer.eos_token is None:
        raise ValueError(f"the tokenizer of {name} has neither a padding token nor an end marker: name one")
    return tokenizer


def load_language_model(name: str | Path, *, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A causal language model; raises ``ValueError`` for a base that lacks weights of its own architecture."""
    options: dict[str, Any] = {"dtype": dtype, "output_loading_info": True}
    load: Any = AutoModelForCausalLM.from_pretrained
    try:
        model, info = load(str(name), **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"cannot load {name} as a language model: {error}") from error
    refuse_missing(name, info["missing_keys"])
    loaded: PreTrainedModel = model
    return loaded


def refuse_missing(name: str | Path, missing: Collection[str]) -> None:
    """Raise ``ValueError`` where a checkpoint lacks weights: they would be drawn anew, and nobody told."""
    if missing:
        raise ValueError(f"{name} lacks weights of its own architecture: {', '.join(sorted(missing)[:5])}")


def language_head(model: PreTrainedModel) -> nn.Module:
    """What makes logits of the last hidden states."""
    head: nn.Module = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return head
