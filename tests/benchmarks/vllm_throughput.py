"""Rollouts per second of the service on the vllm engine against vLLM's own ``LLM.generate``, in one run.

``make bench-vllm``, or ``python -m tests.benchmarks.vllm_throughput [--rounds 5] [--rollouts 256] [--model NAME]`` in
the venv that has vLLM. Both engines are up all the time, with the same arguments, but only one works at a time: rounds
are interleaved. ``LLM.generate`` is given the token ids of the very prompts that the service writes, all at once, and
the same sampling; the service gets one call over HTTP, from which it has to write the prompts, read the replies and
place their spans. Both begin a round with nothing cached but what earlier rounds of the same task share.
Prints a table; record it in RESULTS.md.
"""

import argparse
import asyncio
import json
import tempfile
from pathlib import Path

import httpx
import torch
from prometheus_client.parser import text_string_to_metric_families
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from vllm import LLM, SamplingParams

from assayd import __version__
from assayd.annotators.options import CriticOptions, Mode
from assayd.annotators.span_critic import SpanCritic
from assayd.domain.ports import Deadline, FinishReason, Generation, Sampling
from assayd.domain.provenance import ModelRef, Usage
from assayd.domain.rollout import Completion, Message, Role, Rollout
from assayd.domain.text import Alignment, Span
from assayd.engines.prompts import encode
from assayd.prompt_files import load_prompts

from ..processes import assayd
from ..texts import WORDS
from .rounds import Way, measured, report, texts

TASK = "relc-toxicity"
PROMPT = "Tell me what the animals did."
REPLY_TOKENS = 48
CONTEXT = 2048
ENGINE = {"enforce_eager": True, "block_size": 32}
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
        CriticOptions(max_tokens=REPLY_TOKENS),
        task=TASK,
        mode=Mode.COMPAT,
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
    bodies = [prompt.body for prompt in load_prompts("critic").values()]
    tokenizer.train_from_iterator([*bodies, *WORDS * 10], trainer)
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

    def __call__(self, completions: list[str]) -> None:
        """One call for all of them."""
        rollouts = [{"prompt": PROMPT, "completion": {"text": text}} for text in completions]
        # Random weights write no verdicts: as the released code does, their noise is read as one that finds nothing.
        body = {"method": "critic", "task": TASK, "mode": "compat", "rollouts": rollouts, "timeout_s": 1800}
        response = self._client.post("/score/token", json={**body, "options": {"max_tokens": REPLY_TOKENS}})
        assert response.status_code == 200, response.text
        assert '"failed"' not in response.text, response.text[:500]

    @property
    def tokens(self) -> tuple[float, float]:
        """Read and written so far."""
        samples = {
            sample.labels["kind"]: sample.value
            for family in text_string_to_metric_families(self._client.get("/metrics").text)
            for sample in family.samples
            if sample.name == "assay_engine_tokens_total"
        }
        return samples.get("prompt", 0.0), samples.get("completion", 0.0)


class Offline:
    """vLLM without a service; counts tokens too."""

    def __init__(self, model: str) -> None:
        self._llm = LLM(
            model=model, dtype="float32", max_model_len=CONTEXT, enable_prefix_caching=True, **ENGINE
        )
        self._sampling = SamplingParams(temperature=0.0, max_tokens=REPLY_TOKENS)
        self._tokenizer = AutoTokenizer.from_pretrained(model)
        self._ids: dict[str, list[int]] = {}
        self.tokens = (0, 0)

    def learn(self, completions: list[str]) -> None:
        """Write the prompts of these completions beforehand."""
        prompts = asyncio.run(prompts_for(completions))
        for text, messages in zip(completions, prompts, strict=True):
            self._ids[text] = encode(self._tokenizer, messages)

    def __call__(self, completions: list[str]) -> None:
        """All prompts at once."""
        prompts = [{"prompt_token_ids": self._ids[text]} for text in completions]
        told = self._llm.generate(prompts, self._sampling, use_tqdm=False)
        read, written = self.tokens
        self.tokens = (
            read + sum(len(one.prompt_token_ids) for one in told),
            written + sum(len(one.outputs[0].token_ids) for one in told),
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rollouts", type=int, default=256)
    parser.add_argument("--model", help="a hub name or a folder; random weights made on the spot when absent")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = asked.model or random_model(Path(folder) / "model")
        critic = {
            "critic__engine": "vllm",
            "critic__model": model,
            "critic__dtype": "float32",
            "critic__max_model_len": str(CONTEXT),
            "critic__vllm": json.dumps({"engine_args": ENGINE}),
        }
        with assayd(Path(folder) / "assayd.log", weightless=True, **critic) as hosted:
            service, offline = Service(hosted.url), Offline(model)
            # The prompts are written outside the measured time.
            offline.learn(texts(8, seed=hash(OFFLINE) % 1000))
            for turn in range(asked.rounds):
                offline.learn(texts(asked.rollouts, seed=1000 * asked.rollouts + turn))
            ways = {SERVICE: Way(asked.rollouts, service), OFFLINE: Way(asked.rollouts, offline)}
            rates = measured(ways, asked.rounds)
            print(f"tokens read and written: service {service.tokens}, LLM.generate {offline.tokens}")
    report(rates, {"/generate": OFFLINE})


if __name__ == "__main__":
    main()
