"""Throughput of the service over HTTP against the same model called directly, in one run.

``make bench``, or ``OMP_NUM_THREADS=1 python tests/benchmarks/throughput.py [--rounds 3]``. The service runs the
embedded critic in a process of its own. Every round sends fresh texts (so the cache never helps), first through
the service at 1, 8 and 64 requests in flight, then to the model directly: all prompts known beforehand, sorted by
length, in full batches. Rounds are interleaved and medians reported, because the neighbours of a measurement
change. Prints a table and writes nothing; record results by hand in RESULTS.md.
"""

import argparse
import asyncio
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import torch

from assayd.domain.ports import Deadline, Generation, Sampling
from assayd.domain.rollout import Message, Role
from assayd.engines import POCKET_CRITIC
from assayd.engines.batcher import Job
from assayd.engines.decoding import Decoder, Row
from assayd.engines.loading import Loaded, load
from assayd.engines.transformers import encode
from assayd.prompt_files import load_prompts
from assayd.settings import EngineName, EngineSettings

TASK = "relc-toxicity"
MAX_TOKENS = 48
IN_FLIGHT = {1: 12, 8: 48, 64: 192}
"""Requests in flight, and requests in a round."""
BATCH_ROWS = 64
WORDS = "the cat sat on a mat and then ran away from two small dogs who were eating 12 apples in their garden".split()


def texts(count: int, seed: int) -> list[str]:
    """Distinct completions of mixed lengths: a tenth under 10 words, half under 60, the longest 300."""
    dice = random.Random(seed)
    lengths = [min(300, int(dice.lognormvariate(4.0, 0.9)) + 3) for _ in range(count)]
    return [
        f"{seed} {number} " + " ".join(dice.choices(WORDS, k=length)) for number, length in enumerate(lengths)
    ]


@contextmanager
def service() -> Iterator[str]:
    """``assayd serve`` in a process of its own; gives its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "assayd", "serve", "--port", str(port)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    give_up_at_s = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < give_up_at_s:
        try:
            if httpx.get(f"{url}/readyz", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit("the service did not start")


async def through_the_service(url: str, completions: list[str], in_flight: int) -> None:
    """One request per completion, so many at a time."""
    permits = asyncio.Semaphore(in_flight)
    async with httpx.AsyncClient(base_url=url, timeout=600, trust_env=False) as client:

        async def ask(text: str) -> None:
            body = {
                "task": TASK,
                "rollouts": [{"completion": {"text": text}}],
                "options": {"max_tokens": MAX_TOKENS},
                "timeout_s": 600,
            }
            async with permits:
                response = await client.post("/score/token", json=body)
            # A critic that talks nonsense is as much work as one that does not.
            assert response.status_code == 200, response.text

        await asyncio.gather(*map(ask, completions))


class Direct:
    """The model without service, queue or deadline."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._decoder = Decoder(loaded.model, loaded.tokenizer, frozenset({loaded.tokenizer.eos_token_id}))
        self._prompt = load_prompts("pocket")[TASK]

    def _batches(self, completions: list[str], rows: int) -> list[list[list[int]]]:
        filled = [self._prompt.render({"prompt": "", "completion": text}) for text in completions]
        ids = [encode(self._loaded.tokenizer, (Message(Role.USER, text),)) for text in filled]
        ids.sort(key=len)
        return [ids[start : start + rows] for start in range(0, len(ids), rows)]

    def own_loop(self, completions: list[str], rows: int) -> None:
        """The engine's decode loop, on full length-sorted batches."""
        for batch in self._batches(completions, rows):
            jobs: list[Job[Row, Generation]] = [
                Job(Row(ids, Sampling(MAX_TOKENS)), len(ids), Deadline.after(600)) for ids in batch
            ]
            self._decoder.run(jobs, lambda at_least: [])

    def transformers_generate(self, completions: list[str], rows: int) -> None:
        """``model.generate`` of transformers, on the same batches."""
        tokenizer = self._loaded.tokenizer
        tokenizer.padding_side = "left"
        for batch in self._batches(completions, rows):
            padded = tokenizer.pad({"input_ids": batch}, return_tensors="pt")
            with torch.inference_mode():
                written = self._loaded.model.generate(
                    **padded, max_new_tokens=MAX_TOKENS, do_sample=False, pad_token_id=tokenizer.pad_token_id
                )
            tokenizer.batch_decode(written[:, padded["input_ids"].shape[1] :], skip_special_tokens=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    settings = EngineSettings(engine=EngineName.TRANSFORMERS, model=str(POCKET_CRITIC), device="cpu")
    direct = Direct(load(settings))
    most = max(IN_FLIGHT.values())
    with service() as url, ThreadPoolExecutor(1) as worker:
        ways: dict[str, tuple[int, Callable[[list[str]], None]]] = {
            f"service, {flight} in flight": (
                count,
                lambda items, flight=flight: asyncio.run(through_the_service(url, items, flight)),
            )
            for flight, count in IN_FLIGHT.items()
        }
        ways["direct, one by one"] = (IN_FLIGHT[1], lambda items: direct.own_loop(items, 1))
        ways[f"direct, sorted batches of {BATCH_ROWS}"] = (
            most,
            lambda items: direct.own_loop(items, BATCH_ROWS),
        )
        ways[f"transformers generate, sorted batches of {BATCH_ROWS}"] = (
            most,
            lambda items: direct.transformers_generate(items, BATCH_ROWS),
        )
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(-1, rounds):
            for name, (count, way) in ways.items():
                # The texts of a turn are the same for every way of one size, and new to the service's cache.
                items = (
                    texts(count, seed=1000 * count + turn) if turn >= 0 else texts(8, seed=hash(name) % 1000)
                )
                began_s = time.perf_counter()
                worker.submit(way, items).result()
                if turn >= 0:
                    rates[name].append(count / (time.perf_counter() - began_s))
    report(rates)


def report(rates: dict[str, list[float]]) -> None:
    """Requests per second of each way, and its share of what full batches give, called in either way."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    generate = medians[f"transformers generate, sorted batches of {BATCH_ROWS}"]
    own_loop = medians[f"direct, sorted batches of {BATCH_ROWS}"]
    print(f"{'requests/s':52}{'median':>8}{'min':>8}{'max':>8}{'/generate':>11}{'/own loop':>11}")
    for name, values in rates.items():
        shares = f"{medians[name] / generate:11.2f}{medians[name] / own_loop:11.2f}"
        print(f"{name:52}{medians[name]:8.2f}{min(values):8.2f}{max(values):8.2f}{shares}")
    print("load average " + ", ".join(f"{value:.1f}" for value in os.getloadavg()))


if __name__ == "__main__":
    main()
