"""The shape of the embedded critic: a small Llama, so that transformers and vLLM run it as they are."""

import json
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from .pocket_tokenizer import MAX_POSITIONS


def new_model(vocabulary_size: int, *, end: int, pad: int) -> LlamaForCausalLM:
    """A freshly initialised model of 1.9 million parameters (heads of 32, tied embeddings)."""
    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=160,
        intermediate_size=432,
        num_hidden_layers=5,
        num_attention_heads=5,
        num_key_value_heads=5,
        head_dim=32,
        max_position_embeddings=MAX_POSITIONS,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
        initializer_range=0.05,
    )
    return LlamaForCausalLM(config)


def reply_loss(model: LlamaForCausalLM, ids_bt: Tensor, targets_bt: Tensor) -> tuple[Tensor, int]:
    """Sum of the cross-entropies (nats) of the targets, and their number; -100 marks what is not learned."""
    hidden_btd = model.model(input_ids=ids_bt, use_cache=False).last_hidden_state
    learned_bt = targets_bt != -100
    logits_nv = model.lm_head(hidden_btd[learned_bt])
    loss = functional.cross_entropy(logits_nv, targets_bt[learned_bt], reduction="sum")
    return loss, int(learned_bt.sum())


def parameter_count(model: torch.nn.Module) -> int:
    """Trained numbers, the tied embedding counted once."""
    return sum(weight.numel() for weight in model.parameters())


def save_weights(model: LlamaForCausalLM, out: Path) -> None:
    """Write config, generation config and float16 weights; the model itself stays as it is."""
    weights = {name: weight.half() for name, weight in model.state_dict().items() if name != "lm_head.weight"}
    model.save_pretrained(out, state_dict=weights)  # the head is tied to the embedding
    (out / "model.safetensors").chmod(0o644)
    config = json.loads((out / "config.json").read_text())
    config["dtype"] = "float16"
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
