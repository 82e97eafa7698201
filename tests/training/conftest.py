"""Tiny models, a tokenizer of bytes, pairs, and a kill in the midst, for the tests of the trainings."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

END, PAD = "<|end|>", "<|pad|>"


@pytest.fixture
def bytewise() -> PreTrainedTokenizerFast:
    """Bytes are its tokens: whatever the text, decoding gives it back."""
    return _tokenizer()


@pytest.fixture(scope="session")
def write_base(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a tiny language model that was never trained, with its tokenizer; the arguments go into its config."""

    def write(**config: Any) -> Path:
        folder = tmp_path_factory.mktemp("models") / "tiny"
        torch.manual_seed(0)
        settings = LlamaConfig(
            vocab_size=258,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            bos_token_id=None,
            eos_token_id=0,
            pad_token_id=1,
            **config,
        )
        LlamaForCausalLM(settings).save_pretrained(folder)
        _tokenizer().save_pretrained(folder)
        return folder

    return write


@pytest.fixture(scope="session")
def base(write_base: Callable[..., Path]) -> Path:
    """A tiny language model that was never trained, with its tokenizer."""
    return write_base(max_position_embeddings=512, initializer_range=0.6)


@pytest.fixture
def kill_at_a_checkpoint() -> Callable[[str, Path], int]:
    """Runs Python code that trains into a folder, kills it with signal 9, and says which step was written last."""

    def kill(code: str, out: Path) -> int:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        while not (written := _steps_written(out)):
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        return max(written | _steps_written(out))

    return kill


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty prompts with two pairs each, in which what is preferred is a matter of one word."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = [
        {
            "prompt": f"Say {number}. ",
            "chosen": f"{start} good {number}.",
            "rejected": f"{start} bad {number}.",
        }
        for number, start in product(range(40), ("It is", "A"))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([END, PAD, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD)


def _steps_written(out: Path) -> set[int]:
    """The steps of the checkpoints that were written to their end."""
    written = set()
    for state in out.glob("checkpoints/checkpoint-*/trainer_state.json"):
        with contextlib.suppress(OSError, ValueError):
            written.add(json.loads(state.read_text())["global_step"])
    return written
