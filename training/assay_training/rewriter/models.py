"""The language model that is trained, and the optimizer that moves it."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from ..segment_rm.models import language_head
from ..segment_rm.optimizers import BETAS, MuonBesideAdamW, OptimizerName


def load_language_model(name: str | Path, *, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A causal language model; raises ``ValueError`` for a base that lacks weights of its own architecture."""
    options: dict[str, Any] = {"dtype": dtype, "output_loading_info": True}
    load: Any = AutoModelForCausalLM.from_pretrained
    try:
        model, info = load(str(name), **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"cannot load {name} as a language model: {error}") from error
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"{name} lacks weights of its own architecture: {', '.join(missing[:5])}")
    loaded: PreTrainedModel = model
    return loaded


def make_optimizer(model: Any, name: OptimizerName, rate: float) -> torch.optim.Optimizer:
    """The optimizer over all weights, without weight decay; embeddings and the head are never Muon's."""
    weights = list(model.parameters())
    if name is OptimizerName.ADAMW:
        return torch.optim.AdamW(weights, rate, betas=BETAS, weight_decay=0.0)
    not_hidden = {language_head(model).weight} | {
        module.weight for module in model.modules() if isinstance(module, nn.Embedding)
    }
    matrices = [weight for weight in weights if weight.ndim == 2 and weight not in not_hidden]
    others = [weight for weight in weights if weight.ndim != 2 or weight in not_hidden]
    return MuonBesideAdamW(matrices, others, rate)
