"""Rollouts per second and share of the matrix peak of each role, on models of a real shape with random weights.

    python -m tests.benchmarks.shapes --engine vllm --shape 1b --peak-tflops 989     # one H200, bfloat16, dense
    python -m tests.benchmarks.shapes --engine transformers --shape tiny             # any machine: that it runs

Weights are made on the spot and thrown away. The share counts what a forward pass must do, two operations a weight and
token, and the pairs of attention; what else the engine does is its loss.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from assayd.domain.ports import Deadline, Sampling, Window
from assayd.domain.provenance import Usage
from assayd.domain.rollout import Completion, Message, Role
from assayd.domain.text import Segment
from assayd.engines.alignment import PolicyTokenizer
from assayd.hosting import Hosting
from assayd.settings import EngineName, EngineSettings, VllmSettings

SHAPES: Final = {
    "tiny": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2},
    "1b": {"hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8},
    "8b": {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8},
}
"""Those of Llama 3.2 1B and Llama 3.1 8B, and one that any machine runs."""
WIDTHS: Final = {"tiny": (128, 512), "1b": (8192, 128_256), "8b": (14_336, 128_256)}
"""Width of the feed-forward layers, and the vocabulary."""
PROMPT: Final = 900
COMPLETION: Final = 300
REPLY: Final = 128
"""Tokens: a critic's instructions with the completion in them, a completion, a critique."""
PATIENCE_S: Final = 3600.0


@dataclass(frozen=True)
class Made:
    """A model on disk: its folder, its weights in matrices, and what a pair of tokens costs in attention."""

    folder: str
    weights: int
    pair: int

    def operations(self, read: int, written: int) -> float:
        """Those that a rollout must cost, for so many tokens read and written."""
        total = read + written
        return 2.0 * self.weights * total + 2.0 * self.pair * total * total / 2


def tokenizer() -> PreTrainedTokenizerFast:
    """Some 300 tokens, of which texts of any length can be written."""
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    bare.train_from_iterator(
        ["one two three four"],
        trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()),
    )
    return PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<|end|>")


def made(kind: type[PreTrainedModel], shape: str, folder: Path) -> Made:
    """A model with random weights, saved in bfloat16."""
    width, vocabulary = WIDTHS[shape]
    config = LlamaConfig(
        **SHAPES[shape],
        intermediate_size=width,
        vocab_size=vocabulary,
        max_position_embeddings=4096,
        num_labels=1,
        dtype="bfloat16",
    )
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        torch.set_default_dtype(torch.bfloat16)
        model = kind(config)
        torch.set_default_dtype(torch.float32)
    weights = sum(value.numel() for name, value in model.named_parameters() if "embed" not in name)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return Made(str(folder), weights, 2 * config.num_hidden_layers * config.hidden_size)


def texts(count: int, tokens: int) -> list[str]:
    """Distinct ones of about so many tokens."""
    return [f"{number} " + "abcdefgh" * (tokens // 8) for number in range(count)]


def completions(folder: str, count: int) -> list[Completion]:
    """Each with the ids of the model's own tokenizer."""
    from assayd.domain.provenance import ModelRef

    own = PolicyTokenizer(ModelRef("bench", "1"), Tokenizer.from_file(f"{folder}/tokenizer.json"))
    return [Completion(own.encode(text)[0]) for text in texts(count, COMPLETION)]


async def timed(ask: Callable[[int], Awaitable[Usage]], count: int) -> tuple[float, Usage]:
    """Seconds for ``count`` calls at once, and what they cost; a first few are not counted."""
    await asyncio.gather(*(ask(-1 - number) for number in range(min(8, count))))
    began_s = time.perf_counter()
    costs = await asyncio.gather(*(ask(number) for number in range(count)))
    return time.perf_counter() - began_s, sum(costs, Usage())


async def measure(arguments: argparse.Namespace) -> None:
    """Each role by itself, and a line for it."""
    print(f"{'role':12}{'rollouts/s':>12}{'tokens/s':>12}{'share of peak':>16}{'seconds':>10}")
    for role in ("Generator", "TokenWeigher", "SegmentScorer"):
        with TemporaryDirectory() as folder:
            kind = LlamaForTokenClassification if role == "SegmentScorer" else LlamaForCausalLM
            model = made(kind, arguments.shape, Path(folder))
            torch.cuda.empty_cache()
            async with Hosting() as hosting:
                settings = EngineSettings(
                    engine=EngineName(arguments.engine),
                    model=folder,
                    vllm=VllmSettings(engine_args=arguments.engine_args),
                )
                engine = await hosting.open(settings, role)
                seconds, usage = await timed(
                    asker(engine, role, model.folder, arguments.count), arguments.count
                )
        read, written = usage.prompt_tokens, usage.completion_tokens
        each = model.operations(read // arguments.count, written // arguments.count) * arguments.count
        share = f"{each / seconds / arguments.peak_tflops / 1e12:.1%}" if arguments.peak_tflops else "-"
        rates = f"{arguments.count / seconds:12.1f}{(read + written) / seconds:12.0f}"
        print(f"{role:12}{rates}{share:>16}{seconds:10.1f}")
    print("load average " + ", ".join(f"{value:.1f}" for value in os.getloadavg()))


def asker(engine: Any, role: str, folder: str, count: int) -> Callable[[int], Awaitable[Usage]]:
    """One call of a role; numbers below zero are others than those that count."""
    prompts = texts(count + 8, PROMPT)
    judged = completions(folder, count + 8)
    question = (Message(Role.USER, "Judge this."),)

    async def ask(number: int) -> Usage:
        deadline = Deadline.after(PATIENCE_S)
        if role == "Generator":
            prompt = (Message(Role.USER, prompts[number]),)
            return (await engine.generate(prompt, Sampling(REPLY), deadline=deadline)).usage
        completion = judged[number]
        if role == "TokenWeigher":
            told = await engine.weigh(question, completion, window=Window(), deadline=deadline)
        else:
            ends = [*range(16, len(completion), 16), len(completion)]
            segments = tuple(Segment(start, end) for start, end in zip([0, *ends], ends, strict=False))
            told = await engine.score(question, completion, segments, window=Window(), deadline=deadline)
        return told.intake.usage

    return ask


if __name__ == "__main__":
    import json

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=("vllm", "transformers"), default="vllm")
    parser.add_argument("--shape", choices=SHAPES, default="1b")
    parser.add_argument("--count", type=int, default=512, help="rollouts at once")
    parser.add_argument("--peak-tflops", type=float, help="of the device, dense, in the dtype of the weights")
    parser.add_argument("--engine-args", type=json.loads, default={}, help="vLLM's, as JSON")
    asyncio.run(measure(parser.parse_args()))
