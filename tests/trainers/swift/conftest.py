"""A tiny policy that was never trained, trained by ms-swift on the CPU: ``make test-swift``."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from assay.testing import FakeServer

collect_ignore_glob = [] if find_spec("swift") else ["test_*.py"]

LONGEST = 10
os.environ |= {"USE_HF": "1", "HF_HUB_OFFLINE": "1"}  # nothing is looked up


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings that ms-swift itself calls forth are not ours."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session")
def policy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2 of two layers with random weights and a tokenizer of its own."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("policy")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    text = ["system user assistant two and three are five " * 20]
    backend.train_from_iterator(
        text, trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet)
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def service() -> Iterator[FakeServer]:
    """A service that answers by the test's rules."""
    with FakeServer() as server:
        yield server


@pytest.fixture
def train(policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Trains two optimizer steps of two mini-batches of two prompts; gives what reached the loss, and the trainer."""
    from swift import rlhf_main

    from assay.swift import DenseGRPOTrainer

    rows = [{"messages": [{"role": "user", "content": "two and " * (1 + n % 3) + str(n)}]} for n in range(16)]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(*reward_funcs: str, **flags: Any) -> Any:
        seen = SimpleNamespace(batches=[], trainer=None, before={}, log=[])
        compute = DenseGRPOTrainer._compute_loss_and_metrics
        begin = DenseGRPOTrainer.train

        def spy(trainer: Any, model: Any, model_inputs: Any, grpo_batch: Any) -> Any:
            width = grpo_batch.completion_mask.size(1)
            seen.batches.append(
                {
                    "ids": model_inputs["input_ids"][:, -width:].clone(),
                    "mask": grpo_batch.completion_mask.clone().bool(),
                    "advantages": grpo_batch.advantages.clone(),
                }
            )
            return compute(trainer, model, model_inputs, grpo_batch)

        def start(trainer: Any, *arguments: Any, **named: Any) -> Any:
            seen.trainer = trainer
            seen.before = {name: one.detach().clone() for name, one in trainer.model.named_parameters()}
            return begin(trainer, *arguments, **named)

        monkeypatch.setattr(DenseGRPOTrainer, "_compute_loss_and_metrics", spy)
        monkeypatch.setattr(DenseGRPOTrainer, "train", start)
        monkeypatch.setattr(sys, "argv", ["swift"])
        said = {
            "rlhf_type": "grpo",
            "model": policy_folder,
            "model_type": "qwen2",
            "template": "qwen2_5",
            "dataset": data,
            "output_dir": tmp_path / "out",
            "tuner_type": "full",
            "use_vllm": "false",
            "use_cpu": "true",
            "attn_impl": "eager",
            "torch_dtype": "float32",
            "bf16": "false",
            "beta": 0,
            "num_generations": 4,
            "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": 2,
            "max_completion_length": LONGEST,
            "max_steps": 2,
            "learning_rate": 1e-2,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "gradient_checkpointing": "false",
            "dataloader_num_workers": 0,
            "dataset_num_proc": 1,
            "load_from_cache_file": "false",
            "seed": 3,
            "check_model": "false",
            **flags,
        }
        words = [str(word) for name, value in said.items() for word in (f"--{name}", value)]
        rlhf_main([*words, "--reward_funcs", *reward_funcs])
        seen.log = seen.trainer.state.log_history
        return seen

    return run


def own_ids(batch: dict[str, Any], row: int) -> list[int]:
    """What the policy generated, as the loss has it."""
    return [int(one) for one in batch["ids"][row][batch["mask"][row]]]
