"""These run where veRL is installed: ``make test-verl``. Its processes are Ray's, and real."""

import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from assay.testing import FakeServer

collect_ignore_glob = [] if find_spec("verl") else ["test_*.py"]

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "trainers"

if find_spec("verl"):
    # veRL reads it when it is imported, in this process and in Ray's; what Ray starts is not to wait for all others.
    os.environ |= {
        "VERL_USE_EXTERNAL_MODULES": "verl_reward",
        "PYTHONPATH": os.pathsep.join([str(EXAMPLES), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "HF_HUB_OFFLINE": "1",
        "RAY_AUTH_MODE": "disabled",
        "RAY_worker_niceness": "0",
    }
    sys.path.insert(0, str(EXAMPLES))
    with warnings.catch_warnings():  # what its imports call forth is not ours
        warnings.simplefilter("ignore")
        importlib.import_module("verl.experimental.reward_loop.reward_loop")


@pytest.fixture(scope="session")
def service() -> Iterator[FakeServer]:
    """Where Ray's processes look for the service."""
    with FakeServer() as server:
        os.environ["ASSAY_URL"] = server.url
        yield server


@pytest.fixture(scope="session")
def policy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy as veRL wants it on disk: a tokenizer with a chat template, and a configuration; no weights."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config

    folder = tmp_path_factory.mktemp("policy")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    words = ["two and three are five wrong right so it is seven naïve " * 20]
    backend.train_from_iterator(
        words,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<|end|>", "<|pad|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>", pad_token="<|pad|>")
    tokenizer.chat_template = (
        "{% for turn in messages %}{{ turn['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}:{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    Qwen2Config(
        vocab_size=512,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        architectures=["Qwen2ForCausalLM"],
    ).save_pretrained(folder)
    return folder
