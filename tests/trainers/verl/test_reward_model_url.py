"""veRL's own reward worker asks ``/classify`` and ``/v1/embeddings`` as it asks its hosted reward model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from verl.experimental.reward_loop.reward_loop import RewardLoopWorker
from verl.protocol import DataProto

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PreTrainedTokenizerFast]:
    """One token a byte, ChatML; in a folder, for policy and reward model."""
    alphabet = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = Tokenizer(models.BPE(alphabet, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(marker, special=True) for marker in ("<|im_start|>", "<|im_end|>")])
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|im_end|>", chat_template=TEMPLATE
    )
    folder = tmp_path_factory.mktemp("policy")
    made.save_pretrained(folder)
    return folder, made


def worker(url: str, folder: Path, engine: str) -> RewardLoopWorker:
    """The worker with its reward model enabled, and our address for that of its router."""
    config = {
        "actor_rollout_ref": {"model": {"tokenizer_path": str(folder), "path": str(folder)}},
        "reward": {
            "custom_reward_function": {"path": None, "name": None},
            "reward_manager": {"source": "register", "name": "naive", "module": None},
            "reward_model": {"enable": True, "model_path": str(folder), "rollout": {"name": engine}},
            "num_workers": 1,
        },
    }
    return RewardLoopWorker(OmegaConf.create(config), url.removeprefix("http://"))


def sampled(tokenizer: PreTrainedTokenizerFast, written: str) -> DataProto:
    """One sample as its rollout leaves it."""
    messages = [{"role": "user", "content": "Are you a zebra?"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
    response = torch.tensor([tokenizer.encode(f"{written}<|im_end|>", add_special_tokens=False)])
    whole = torch.cat([prompt, response], dim=1)
    batch = TensorDict(
        {
            "prompts": prompt,
            "responses": response,
            "input_ids": whole,
            "attention_mask": torch.ones_like(whole),
        },
        batch_size=1,
    )
    raw = np.empty(1, dtype=object)
    raw[0] = messages
    return DataProto(batch=batch, non_tensor_batch={"raw_prompt": raw})


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
async def test_the_reward_arrives(
    foreign: Callable[..., str], tokenizer: tuple[Path, PreTrainedTokenizerFast], engine: str
) -> None:
    """A marked response and a clean one, through the chat template of the reward model's tokenizer."""
    asking = worker(foreign(aggregation="min"), tokenizer[0], engine)
    scores: list[Any] = [
        await asking.compute_score(sampled(tokenizer[1], written))
        for written in ("No, you zebra.", "A horse.")
    ]
    assert scores == [{"reward_score": -0.5}, {"reward_score": 0.0}]


@pytest.mark.parametrize("on_failure", ["error", "null"])
@pytest.mark.parametrize("engine", ["vllm", "sglang"])
async def test_a_failure_is_raised_at_once(
    foreign: Callable[..., str],
    tokenizer: tuple[Path, PreTrainedTokenizerFast],
    engine: str,
    on_failure: str,
) -> None:
    """A status below 500 is not tried again: the worker says so at once, and no number comes back."""
    asking = worker(foreign(aggregation="min", on_failure=on_failure), tokenizer[0], engine)
    with pytest.raises(aiohttp.ClientResponseError, match="422"):
        await asking.compute_score(sampled(tokenizer[1], "unspeakable"))
