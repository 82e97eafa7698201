"""Loads the models of a training: the base with a scalar head on every token, and the frozen entropy model."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, PreTrainedModel

from ..finetuning.models import language_head, refuse_missing


def load_reward_model(base: str | Path, *, seed: int, freeze: Sequence[str] = ()) -> PreTrainedModel:
    """The base in float32 with a head on every token; a head that the base does not have is drawn from the seed.

    Weights whose names a pattern of ``freeze`` matches are not trained. Raises ``ValueError`` for a base that lacks
    other weights than the head's or that reads both ways.
    """
    model, missing = _loaded(base)
    head_name, head = value_head(model)
    refuse_missing(base, [key for key in missing if not key.startswith(f"{head_name}.")])
    if missing:
        # As the released code does (papers.md 2.2).
        generator = torch.Generator().manual_seed(seed)
        nn.init.normal_(head.weight, std=1 / (head.in_features + 1), generator=generator)
    if head.bias is not None:
        # The loss sees differences of rewards, in which a bias cancels: Adam would chase rounding errors.
        nn.init.zeros_(head.bias)
        head.bias.requires_grad_(False)
    _freeze(model, freeze)
    refuse_looking_ahead(model, str(base))
    return model


def load_entropy_model(name: str | Path, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """A frozen language model whose logits are its head's of its last hidden states; ``ValueError`` for others."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(str(name), dtype=dtype)
    nn.Module.to(model, device)
    model.train(mode=False)
    head = language_head(model)
    with torch.inference_mode():
        ids = torch.arange(4, device=device)[None]
        plain = head(model.base_model(input_ids=ids, use_cache=False).last_hidden_state)
        if not torch.allclose(plain, model(input_ids=ids, use_cache=False).logits, atol=1e-3, rtol=1e-3):
            raise ValueError(f"{name} changes its logits behind its head: take another entropy model")
    return model


def refuse_looking_ahead(model: PreTrainedModel, name: str) -> None:
    """Raise ``ValueError`` for a model in which a later token moves an earlier value."""
    training = model.training
    model.train(mode=False)
    with torch.no_grad():
        ids = torch.tensor([[3, 4, 5, 6], [3, 4, 5, 7]], device=model.device)
        values_bt = model(input_ids=ids).logits[..., 0]
    model.train(training)
    if not torch.allclose(values_bt[0, :3], values_bt[1, :3], atol=1e-5, rtol=1e-4):
        raise ValueError(f"{name} reads both ways: its reward of a segment would see what comes after it")


def value_head(model: PreTrainedModel) -> tuple[str, nn.Linear]:
    """Name and module of the linear layer that makes one number of a hidden state."""
    for name, module in model.named_children():
        if isinstance(module, nn.Linear) and module.out_features == 1:
            return name, module
    raise ValueError(f"{type(model).__name__} has no linear head with one output")


def _loaded(base: str | Path) -> tuple[PreTrainedModel, Sequence[str]]:
    options: dict[str, Any] = {"num_labels": 1, "dtype": torch.float32, "output_loading_info": True}
    try:
        model, info = AutoModelForTokenClassification.from_pretrained(str(base), **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"cannot put a value head on {base}: {error}") from error
    return model, sorted(info["missing_keys"])


def _freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    for pattern in patterns:
        matched = [weight for name, weight in model.named_parameters() if re.search(pattern, name)]
        if not matched:
            raise ValueError(f"no weight has a name that matches {pattern!r}")
        for weight in matched:
            weight.requires_grad_(False)
