"""A random language model, a LoRA adapter of it in PEFT's format, and the model with the adapter merged by hand."""

import json
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from .models import line_tokenizer, saved, shape

RANK: Final = 4
PROJECTIONS: Final = (
    "self_attn.q_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


def low_rank_models(root: Path) -> dict[str, str]:
    """The folders ``base``, ``adapter`` and ``merged`` under ``root``."""
    torch.manual_seed(2)
    tokenizer = line_tokenizer()
    model = LlamaForCausalLM(LlamaConfig(**shape(tokenizer, initializer_range=0.3)))
    base = saved(model, tokenizer, root / "base")
    tensors = {}
    for number, layer in enumerate(model.model.layers):
        for name in PROJECTIONS:
            weight = layer.get_submodule(name).weight.data
            down, up = torch.randn(RANK, weight.shape[1]) / 8, torch.randn(weight.shape[0], RANK) / 8
            prefix = f"base_model.model.model.layers.{number}.{name}"
            tensors |= {f"{prefix}.lora_A.weight": down, f"{prefix}.lora_B.weight": up}
            weight += 2.0 * up @ down
    adapter = root / "adapter"
    adapter.mkdir()
    save_file(tensors, adapter / "adapter_model.safetensors")
    told = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 2 * RANK, "bias": "none"}
    named = {
        "target_modules": [name.rpartition(".")[2] for name in PROJECTIONS],
        "base_model_name_or_path": base,
    }
    (adapter / "adapter_config.json").write_text(json.dumps({**told, **named}))
    return {"base": base, "adapter": str(adapter), "merged": saved(model, tokenizer, root / "merged")}
