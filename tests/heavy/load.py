"""Calls whose right answers are known, made without a pause, and an account of what became of each."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import httpx

from .critic_server import WORDS

PATIENCE_S = 60.0


def rollout(number: int) -> dict[str, Any]:
    """One of many; the critic marks another word in each."""
    text = f"case {number} {' '.join(WORDS)}"
    ends = [place for place, letter in enumerate(text) if letter == " "] + [len(text)]
    offsets = [list(pair) for pair in zip([0, *ends[:-1]], ends, strict=True)]
    completion = {"text": text, "offsets": offsets}
    return {"id": str(number), "prompt": f"case {number}", "completion": completion}


def call(numbers: list[int], timeout_s: float) -> dict[str, Any]:
    """The request for some of them."""
    rollouts = [rollout(number) for number in numbers]
    return {"task": "relc-toxicity", "rollouts": rollouts, "timeout_s": timeout_s}


def result_of(result: dict[str, Any]) -> dict[str, Any]:
    """A result without where it comes from."""
    return {name: value for name, value in result.items() if name != "provenance"}


def undisturbed(url: str, count: int) -> dict[int, dict[str, Any]]:
    """The right answer for each rollout."""
    right: dict[int, dict[str, Any]] = {}
    with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        for start in range(0, count, 32):
            numbers = list(range(start, min(start + 32, count)))
            answer = client.post("/score/token", json=call(numbers, PATIENCE_S)).raise_for_status().json()
            right |= {int(one["id"]): result_of(one) for one in answer["results"]}
    if any(one["status"] != "ok" for one in right.values()):
        raise SystemExit("the undisturbed run failed")
    return right


@dataclass
class Account:
    """What became of calls and of the rollouts in them."""

    sent: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    rollouts: Counter[str] = field(default_factory=Counter)
    cached: int = 0
    slowest_s: float = 0.0

    @property
    def unanswered(self) -> int:
        """Calls that got no answer by HTTP."""
        return sum(count for outcome, count in self.calls.items() if outcome.startswith("no answer"))

    @property
    def wrong(self) -> int:
        """Rollouts whose answer is not that of the undisturbed run."""
        return self.rollouts["wrong"]

    @property
    def complete(self) -> bool:
        """Whether every call is accounted for."""
        return self.sent == sum(self.calls.values())

    def __str__(self) -> str:
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.calls.items()))
        rollouts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.rollouts.items()))
        return f"{self.sent} calls: {outcomes}; rollouts: {rollouts}; slowest {self.slowest_s:.1f} s"


class Load:
    """``workers`` clients that call one after another until told to stop, each call with a few random rollouts."""

    def __init__(
        self,
        url: str,
        right: dict[int, dict[str, Any]],
        *,
        workers: int,
        timeout_s: float = 30.0,
        seed: int = 0,
    ) -> None:
        self._url = url
        self._right = right
        self._workers = workers
        self._timeout_s = timeout_s
        self._chance = random.Random(seed)
        self._stop = Event()
        self.account = Account()

    @contextmanager
    def running(self) -> Iterator[Account]:
        """Call while the block runs; what is under way at its end is waited for."""
        thread = Thread(target=lambda: asyncio.run(self._run()))
        thread.start()
        try:
            yield self.account
        finally:
            self._stop.set()
            thread.join()

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=self._workers)
        async with httpx.AsyncClient(
            base_url=self._url, timeout=self._timeout_s + PATIENCE_S, limits=limits
        ) as client:
            await asyncio.gather(*(self._call_again_and_again(client) for _ in range(self._workers)))

    async def _call_again_and_again(self, client: httpx.AsyncClient) -> None:
        while not self._stop.is_set():
            numbers = self._chance.sample(sorted(self._right), self._chance.randint(1, 4))
            self.account.sent += 1
            began_s = time.monotonic()
            outcome = await self._call(client, numbers)
            self.account.calls[outcome] += 1
            self.account.slowest_s = max(self.account.slowest_s, time.monotonic() - began_s)
            if outcome != "answered":
                await asyncio.sleep(0.1)

    async def _call(self, client: httpx.AsyncClient, numbers: list[int]) -> str:
        try:
            answer = await client.post("/score/token", json=call(numbers, self._timeout_s))
        except httpx.HTTPError as error:
            return f"no answer ({type(error).__name__})"
        if answer.status_code != 200:
            told = answer.json() if "json" in answer.headers.get("content-type", "") else {}
            return f"refused ({answer.status_code} {told.get('kind', 'without a kind')})"
        results = answer.json()["results"]
        if [int(one["id"]) for one in results] != numbers:
            return "answered something else"
        for number, result in zip(numbers, results, strict=True):
            self.account.rollouts[self._verdict(number, result)] += 1
            self.account.cached += result.get("provenance", {}).get("cached", False)
        return "answered"

    def _verdict(self, number: int, result: dict[str, Any]) -> str:
        if result["status"] == "failed":
            return f"failed ({result['failure']['kind']})"
        return "right" if result_of(result) == self._right[number] else "wrong"
