"""``strict``: what a rollout is worth alone and in random company differs by not one bit. What each level costs.

    python -m tests.heavy.determinism
    python -m tests.heavy.determinism --rollouts 500 --others 20 --cost 100 --rounds 1

The embedded models behind ``assayd serve``, nothing remembered between calls. First every rollout is judged alone, one
call after the other; then all of them again, of all methods at once, in calls of random sizes and in random order. The
whole result is compared, text and numbers, with ``==``. Leaves with 1 where anything differs under `strict`.

Then rollouts per second of each level, in one run and interleaved, each text new to every service.
"""

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ..processes import Process, assayd

SECTIONS = ("critic", "segment", "rewriter", "sequence")
LEVELS = ("none", "bucketed", "strict")
MOVES_WITH_COMPANY = ("provenance", "sampling_weight")
"""Of a result: the time it took, and shares of a call."""
WORDS = "the cat sat on a mat and then ran away from 2 small dogs who ate 12 apples ; 3 + 4 = 7 .\n you rat".split(
    " "
)
CALLS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "segment": ("/score/segment", {}),
    "prefix_diff": ("/score/segment", {"method": "prefix_diff", "options": {"segmenter": "sentence"}}),
    "attention": ("/score/segment", {"method": "attention"}),
    "critic": ("/score/token", {"task": "relc-toxicity"}),
    "grm": ("/score/token", {"method": "grm"}),
    "sequence": ("/score/sequence", {"options": {"return_ref_logprob": True}}),
    "rewrite": ("/rewrite", {}),
}
WRITTEN = ("critic", "rewrite")
"""By models that write, token after token: a tenth as many."""


@dataclass(frozen=True, slots=True)
class Item:
    """One rollout and who judges it."""

    method: str
    rollout: dict[str, Any]


def hosted(folder: Path, level: str) -> Process:
    """The service whose models are all of one level; it remembers nothing."""
    levels = {f"{section}__determinism": level for section in SECTIONS}
    return assayd(folder / f"{level}.log", cache__max_mb="0.000001", **levels)


def items(method: str, count: int, dice: random.Random) -> list[Item]:
    """Distinct rollouts of mixed lengths: half under 12 words, the longest 150."""
    made = []
    for number in range(count):
        length = min(150, 1 + int(dice.lognormvariate(2.5, 1.0)))
        text = " ".join(dice.choices(WORDS, k=length))
        prompt = f"Question {dice.random()}: how many?"
        rollout = {"id": str(number), "prompt": prompt, "completion": {"text": text}, "reference": "A: 7"}
        made.append(Item(method, rollout))
    return made


def in_company(everybody: Sequence[Item], dice: random.Random) -> Iterator[list[int]]:
    """Calls of random sizes, each of one method, all in random order: indices of ``everybody``."""
    calls = []
    for method in CALLS:
        own = [index for index, item in enumerate(everybody) if item.method == method]
        dice.shuffle(own)
        while own:
            size = dice.randint(1, 64)
            calls.append(own[:size])
            own = own[size:]
    dice.shuffle(calls)
    yield from calls


class Asking:
    """Calls to one service, so many at a time."""

    def __init__(self, url: str, in_flight: int) -> None:
        limits = httpx.Limits(max_connections=in_flight)
        self._client = httpx.AsyncClient(base_url=url, timeout=3600, limits=limits, trust_env=False)
        self._permits = asyncio.Semaphore(in_flight)

    async def __aenter__(self) -> "Asking":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def __call__(self, asked: Sequence[Item]) -> list[dict[str, Any]]:
        """The results of one call, without what may move with company."""
        path, said = CALLS[asked[0].method]
        body = {**said, "rollouts": [item.rollout for item in asked], "timeout_s": 3600}
        async with self._permits:
            answer = await self._client.post(path, json=body)
        if answer.status_code != 200:
            raise SystemExit(f"{path} answers {answer.status_code}: {answer.text[:500]}")
        results = answer.json()["results"]
        return [
            {name: value for name, value in result.items() if name not in MOVES_WITH_COMPANY}
            for result in results
        ]


async def alone(url: str, everybody: Sequence[Item]) -> list[dict[str, Any]]:
    """Each in a call of its own, one after the other."""
    async with Asking(url, 1) as ask:
        return [(await ask([item]))[0] for item in everybody]


async def together(url: str, everybody: Sequence[Item], dice: random.Random) -> list[dict[str, Any]]:
    """All at once, in random company."""
    results: list[dict[str, Any]] = [{}] * len(everybody)

    async with Asking(url, 8) as ask:

        async def call(indices: Sequence[int]) -> None:
            answered = await ask([everybody[index] for index in indices])
            for index, result in zip(indices, answered, strict=True):
                results[index] = result

        await asyncio.gather(*map(call, in_company(everybody, dice)))
    return results


def numbers(value: Any) -> Iterator[float]:
    """All numbers of a result, in order."""
    if isinstance(value, dict):
        for part in value.values():
            yield from numbers(part)
    elif isinstance(value, list):
        for part in value:
            yield from numbers(part)
    elif isinstance(value, int | float):
        yield float(value)


def largest_difference(one: Any, other: Any) -> float:
    """Of two results; infinite where they are not of one shape."""
    left, right = list(numbers(one)), list(numbers(other))
    if len(left) != len(right):
        return float("inf")
    return max((abs(a - b) for a, b in zip(left, right, strict=True)), default=0.0)


async def compare(url: str, everybody: Sequence[Item], dice: random.Random) -> int:
    """Print what company changes, by method; gives the rollouts that differ."""
    began_s = time.monotonic()
    single, crowd = await alone(url, everybody), await together(url, everybody, dice)
    differing = 0
    for method in CALLS:
        pairs = [
            (one, other)
            for item, one, other in zip(everybody, single, crowd, strict=True)
            if item.method == method
        ]
        unlike = [pair for pair in pairs if pair[0] != pair[1]]
        judged = sum(one["status"] == "ok" for one, _ in pairs)
        largest = max((largest_difference(*pair) for pair in unlike), default=0.0)
        print(
            f"  {method:12} {len(pairs):6} rollouts, {judged:6} judged, {len(unlike):6} differ, "
            f"by {largest:.3g} at most"
        )
        differing += len(unlike)
    print(f"  in {time.monotonic() - began_s:.0f} s")
    return differing


async def rate(url: str, everybody: Sequence[Item]) -> float:
    """Rollouts per second, 32 calls of one rollout at a time."""
    began_s = time.monotonic()
    async with Asking(url, 32) as ask:
        await asyncio.gather(*(ask([item]) for item in everybody))
    return len(everybody) / (time.monotonic() - began_s)


def cost(urls: Mapping[str, str], method: str, count: int, rounds: int, dice: random.Random) -> None:
    """Print rollouts per second of one method by level."""
    rates: dict[str, list[float]] = {level: [] for level in urls}
    for turn in range(rounds + 1):
        texts = items(method, count if turn else 8, dice)
        for level, url in urls.items():
            found = asyncio.run(rate(url, texts))
            if turn:
                rates[level].append(found)
    free = statistics.median(rates["none"])
    for level, found in rates.items():
        median = statistics.median(found)
        print(
            f"  {method:12} {level:10} {median:8.1f} rollouts/s (min {min(found):.1f}, max {max(found):.1f}), "
            f"{median / free:.2f} of none"
        )


def main() -> None:
    """Compare, then measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rollouts", type=int, default=10_000, help="of the segment model")
    parser.add_argument("--others", type=int, default=300, help="of each other method")
    parser.add_argument("--cost", type=int, default=300, help="rollouts of each round and level")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    said = parser.parse_args()
    dice = random.Random(said.seed)
    counts = {method: max(2, said.others // (10 if method in WRITTEN else 1)) for method in CALLS}
    everybody = [
        item
        for method, count in (counts | {"segment": said.rollouts}).items()
        for item in items(method, count, dice)
    ]
    few = [item for method, count in counts.items() for item in items(method, max(2, count // 5), dice)]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        urls = {level: stack.enter_context(hosted(Path(name), level)).url for level in LEVELS}
        for level, asked in (("none", few), ("bucketed", few), ("strict", everybody)):
            print(f"{level}: alone and in company", flush=True)
            differing = asyncio.run(compare(urls[level], asked, dice))
        print("what each level costs", flush=True)
        for method in ("segment", "sequence", "critic"):
            cost(urls, method, said.cost, said.rounds, dice)
    print("load average " + ", ".join(f"{value:.1f}" for value in os.getloadavg()))
    if differing:
        raise SystemExit(f"{differing} rollouts differ under strict")
    print(f"strict: {len(everybody)} rollouts, not one bit differs")


if __name__ == "__main__":
    main()
