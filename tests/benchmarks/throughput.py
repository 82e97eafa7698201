"""Throughput of the service over HTTP against the same model called directly, in one run.

``make bench``, or ``OMP_NUM_THREADS=1 python -m tests.benchmarks.throughput [--rounds 3]``. The service runs the
embedded critic in a process of its own. Every round sends fresh texts (so the cache never helps), first through
the service at 1, 8 and 64 requests in flight, then to the model directly: all prompts known beforehand, sorted by
length, in full batches. Prints a table and writes nothing; record results by hand in RESULTS.md.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

import httpx
import torch

from assayd.domain.ports import Deadline, Generation, Sampling
from assayd.domain.rollout import Message, Role
from assayd.engines import POCKET_CRITIC
from assayd.engines.batcher import Job
from assayd.engines.prompts import encode
from assayd.engines.transformers.decoding import Decoder, Row
from assayd.engines.transformers.loading import Loaded, load
from assayd.prompt_files import load_prompts
from assayd.settings import EngineName, EngineSettings

from ..processes import assayd
from .rounds import Way, measured, report

TASK = "relc-toxicity"
MAX_TOKENS = 48
IN_FLIGHT = {1: 12, 8: 48, 64: 192}
"""Requests in flight, and requests in a round."""
BATCH_ROWS = 64


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
    batches, generated = (
        f"direct, sorted batches of {BATCH_ROWS}",
        f"transformers generate, batches of {BATCH_ROWS}",
    )
    with tempfile.TemporaryDirectory() as folder, assayd(Path(folder) / "assayd.log") as service:
        ways = {
            f"service, {flight} in flight": Way(
                count,
                lambda items, flight=flight: asyncio.run(through_the_service(service.url, items, flight)),
            )
            for flight, count in IN_FLIGHT.items()
        }
        ways["direct, one by one"] = Way(IN_FLIGHT[1], lambda items: direct.own_loop(items, 1))
        ways[batches] = Way(most, lambda items: direct.own_loop(items, BATCH_ROWS))
        ways[generated] = Way(most, lambda items: direct.transformers_generate(items, BATCH_ROWS))
        rates = measured(ways, rounds)
    report(rates, {"/generate": generated, "/own loop": batches})


if __name__ == "__main__":
    main()
