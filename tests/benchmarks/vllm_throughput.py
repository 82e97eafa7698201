"""Rollouts per second of the service on the vllm engine against vLLM's own ``LLM.generate``, in one run.

``make bench-vllm``, or ``python tests/benchmarks/vllm_throughput.py [--rounds 5] [--rollouts 256] [--model NAME]`` in
the venv that has vLLM. Both engines are up all the time, with the same arguments, but only one works at a time: rounds
are interleaved. ``LLM.generate`` is given the token ids of the very prompts that the service writes, all at once, and
the same sampling; the service gets one call over HTTP, from which it has to write the prompts, read the replies and
place their spans. Both begin a round with nothing cached but what earlier rounds of the same task share.
Prints a table; record it in RESULTS.md.
"""

import argparse
import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

import httpx
import torch
from serving import WORDS, Way, measured, report, served
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from assayd import __version__
from assayd.annotators.options import CriticOptions, Mode
from assayd.annotators.span_critic import SpanCritic
from assayd.domain.ports import Deadline, FinishReason, Generation, Sampling
from assayd.domain.provenance import ModelRef, Usage
from assayd.domain.rollout import Completion, Message, Role, Rollout
from assayd.domain.text import Alignment, Span
from assayd.engines.prompts import encode
from assayd.prompt_files import load_prompts

TASK = "relc-toxicity"
PROMPT = "Tell me what the animals did."
REPLY_TOKENS = 48
CONTEXT = 2048
ENGINE = {"enforce_eager": True, "block_size": 16}
SERVICE, OFFLINE = "service, one call over HTTP", "vLLM's own LLM.generate"


class Listener:
    """An engine that keeps what it is asked."""

    def __init__(self) -> None:
        self.model = ModelRef("listener", "none")
        self.asked: list[tuple[Message, ...]] = []

    async def ready(self) -> bool:
        """Always."""
        return True

    async def close(self) -> None:
        """Nothing to close."""

    async def generate(
        self, messages: tuple[Message, ...], sampling: Sampling, *, deadline: Deadline
    ) -> Generation:
        """Keep the prompt; find nothing."""
        self.asked.append(messages)
        return Generation("None identified", FinishReason.STOP, Usage())


async def prompts_for(completions: list[str]) -> list[tuple[Message, ...]]:
    """What the service asks its critic of these completions."""
    listener = Listener()
    critic = SpanCritic(
        listener,
        load_prompts("critic")[TASK],
        CriticOptions(),
        task=TASK,
        mode=Mode.STRICT,
        service_version=__version__,
        tokenizer=None,
    )
    for text in completions:
        whole = Completion(Alignment(text, (0,), (Span(0, len(text)),)))
        rollout = Rollout(id="0", prompt=(Message(Role.USER, PROMPT),), completion=whole)
        await critic.annotate(rollout, deadline=Deadline.after(60))
    return listener.asked


def random_model(folder: Path) -> str:
    """A Llama of random weights whose tokenizer writes prompts in about as many tokens as large models do."""
    tokenizer = Tokenizer(models.BPE())
    pieces = pre_tokenizers.Split(
        Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+"), "isolated"
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pieces, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=4000, initial_alphabet=alphabet, special_tokens=["<end>"], show_progress=False
    )
    texts = [prompt.body for prompt in load_prompts("critic").values()]
    tokenizer.train_from_iterator([*texts, *WORDS * 10], trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(made),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.1,
        bos_token_id=None,
        eos_token_id=made.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    made.save_pretrained(folder)
    return str(folder)


class Service:
    """The service over HTTP; counts the tokens that its critic read and wrote."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=1800, trust_env=False)
        self.tokens = [0, 0]

    def __call__(self, completions: list[str]) -> None:
        """One call for all of them."""
        rollouts = [{"prompt": PROMPT, "completion": {"text": text}} for text in completions]
        options = {"max_tokens": REPLY_TOKENS, "on_error": "zero"}
        body = {"method": "critic", "task": TASK, "rollouts": rollouts, "options": options, "timeout_s": 1800}
        response = self._client.post("/score/token", json=body)
        assert response.status_code == 200, response.text
        for family in self._client.get("/metrics").text.splitlines():
            if family.startswith("vllm:"):
                self.tokens = self.tokens


class Offline:
    """vLLM without a service; counts tokens too."""

    def __init__(self, model: str) -> None:
        from vllm import LLM, SamplingParams

        self._llm = LLM(
            model=model, dtype="float32", max_model_len=CONTEXT, enable_prefix_caching=True, **ENGINE
        )
        self._sampling = SamplingParams(temperature=0.0, max_tokens=REPLY_TOKENS)
        self._tokenizer = AutoTokenizer.from_pretrained(model)
        self.tokens = [0, 0]

    def __call__(self, prompts: list[dict[str, Any]]) -> None:
        """All prompts at once."""
        told = self._llm.generate(prompts, self._sampling, use_tqdm=False)
        self.tokens[0] += sum(len(one.prompt_token_ids) for one in told)
        self.tokens[1] += sum(len(one.outputs[0].token_ids) for one in told)
