"""OpenRLHF's own executor generates, asks ``/get_reward`` and reads the answer."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from openrlhf.utils.agent import SingleTurnAgentExecutor
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PROMPT = "<|im_start|>user\nAre you a zebra?<|im_end|>\n<|im_start|>assistant\n"


def chat_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and ChatML's markers."""
    alphabet = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = Tokenizer(models.BPE(alphabet, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(marker, special=True) for marker in ("<|im_start|>", "<|im_end|>")])
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>")


async def executed(url: str, written: str, prompt: str = PROMPT) -> dict[str, Any]:
    """What the executor makes of a policy that writes ``written``."""
    tokenizer = chat_tokenizer()
    ids = tokenizer.encode(f"{written}<|im_end|>", add_special_tokens=False)

    class Policy:
        async def generate(self, *_: object, **__: object) -> object:
            return SimpleNamespace(
                outputs=[SimpleNamespace(token_ids=ids, finish_reason="stop", logprobs=None)]
            )

    sampling = SimpleNamespace(max_tokens=len(ids), logprobs=None)
    executor = SingleTurnAgentExecutor([f"{url}/get_reward"])
    output: dict[str, Any] = await executor.execute(prompt, "horse", sampling, 4096, tokenizer, Policy())
    return output


async def test_the_reward_arrives(foreign: Callable[..., str]) -> None:
    """A marked completion and a clean one get their numbers, as one number each for torch."""
    url = foreign(aggregation="min")
    marked, clean = await executed(url, "No, you zebra."), await executed(url, "No, a horse.")
    for output, reward in ((marked, -0.5), (clean, 0.0)):
        assert torch.tensor([output["reward"]]).flatten().tolist() == [reward]
        assert torch.tensor([output["scores"]]).flatten().tolist() == [reward]
        assert all(torch.tensor([value]).numel() == 1 for value in output["extra_logs"].values())
    assert set(marked["extra_logs"]) == set(clean["extra_logs"])


@pytest.mark.parametrize("on_failure", ["error", "null"])
async def test_a_failure_is_no_reward(foreign: Callable[..., str], on_failure: str) -> None:
    """Either way the executor keeps None, for which its trainer has no number either."""
    output = await executed(foreign(aggregation="min", on_failure=on_failure), "unspeakable")
    assert output["reward"] is None
    assert output["scores"] is None
