"""Rollouts per second of ``/score/segment`` against the same two models called directly, in one run.

``OMP_NUM_THREADS=1 python -m tests.benchmarks.segments [--rounds 3]``. The service runs the embedded models in a
process of its own; beside it a plain FastAPI handler runs the same two, one request at a time. Direct calls know all
completions beforehand and take them sorted by length, in full batches. Prints a table; record it in RESULTS.md.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
import torch
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, AutoTokenizer

from assayd.engines import POCKET_ENTROPY, POCKET_SEGMENT

from ..processes import READY, Process, assayd, free_port
from .rounds import Way, measured, report

PROMPT = "Tell me what the animals did."
IN_FLIGHT = {1: 64, 8: 256, 64: 512}
"""Requests in flight, and requests in a round."""
BATCH_TOKENS = 4096
LINE = {"kind": "log_regression", "w_mu": 0.7, "w_sig": 0.2, "b_mu": 0.1, "b_sig": 2.5}


async def _posted(url: str, path: str, bodies: list[dict[str, Any]], in_flight: int) -> None:
    permits = asyncio.Semaphore(in_flight)
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with httpx.AsyncClient(base_url=url, timeout=600, trust_env=False, limits=limits) as client:

        async def ask(body: dict[str, Any]) -> None:
            async with permits:
                response = await client.post(path, json=body)
            assert response.status_code == 200, response.text
            assert "failed" not in response.text, response.text

        await asyncio.gather(*map(ask, bodies))


def through_the_service(url: str, completions: list[str], in_flight: int) -> None:
    """One request per completion, so many at a time."""
    bodies = [
        {
            "rollouts": [{"prompt": PROMPT, "completion": {"text": text}}],
            "options": {"c_ent": 1.75, "normalizer": LINE},
            "timeout_s": 600,
        }
        for text in completions
    ]
    asyncio.run(_posted(url, "/score/segment", bodies, in_flight))


def through_the_handler(url: str, completions: list[str], in_flight: int) -> None:
    """The same for the plain handler."""
    bodies = [{"prompt": PROMPT, "completion": text} for text in completions]
    asyncio.run(_posted(url, "/score", bodies, in_flight))


class Direct:
    """The two models without service, queue or deadline."""

    def __init__(self) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(str(POCKET_SEGMENT))
        load = {"dtype": torch.float32}
        self._segment = AutoModelForTokenClassification.from_pretrained(str(POCKET_SEGMENT), **load).train(
            mode=False
        )
        self._entropy = AutoModelForCausalLM.from_pretrained(str(POCKET_ENTROPY), **load).train(mode=False)
        turns = [{"role": "user", "content": PROMPT}]
        self._prompt = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)

    def __call__(self, completions: list[str], rows: int | None = None) -> None:
        """Tokenize, sort by length, and run both models on batches of ``rows``, or of so many padded tokens."""
        ids = [
            self._tokenizer(self._prompt + text, add_special_tokens=False)["input_ids"]
            for text in completions
        ]
        ids.sort(key=len)
        start = 0
        while start < len(ids):
            stop = start + (rows or 1)
            while rows is None and stop < len(ids) and (stop - start + 1) * len(ids[stop]) <= BATCH_TOKENS:
                stop += 1
            self._both(ids[start:stop])
            start = stop

    def _both(self, batch: list[list[int]]) -> None:
        padded = torch.zeros(len(batch), max(map(len, batch)), dtype=torch.long)
        for row, ids in enumerate(batch):
            padded[row, : len(ids)] = torch.tensor(ids)
        with torch.inference_mode():
            logprobs = torch.log_softmax(self._entropy(padded, use_cache=False).logits, -1)
            (-(logprobs.exp() * logprobs).sum(-1)).tolist()
            self._segment(padded, use_cache=False).logits.tolist()


def plain_handler(log: Path) -> Process:
    """The handler that anyone would write first."""
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.plain_handler", "--port", str(port)]
    return Process(command, log, port, ready=READY)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    direct, most = Direct(), max(IN_FLIGHT.values())
    batched, handled = "direct, both models in sorted batches", "plain FastAPI handler, 64 in flight"
    with (
        tempfile.TemporaryDirectory() as folder,
        assayd(Path(folder) / "assayd.log") as service,
        plain_handler(Path(folder) / "handler.log") as handler,
    ):
        ways = {
            f"service, {flight} in flight": Way(
                count, lambda items, flight=flight: through_the_service(service.url, items, flight)
            )
            for flight, count in IN_FLIGHT.items()
        }
        ways[handled] = Way(IN_FLIGHT[8], lambda items: through_the_handler(handler.url, items, 64))
        ways["direct, both models one by one"] = Way(IN_FLIGHT[8], lambda items: direct(items, 1))
        ways[batched] = Way(most, direct)
        rates = measured(ways, rounds)
    report(rates, {"/batched": batched, "/handler": handled})


if __name__ == "__main__":
    main()
