"""A service at full load for a while: memory, file descriptors and latency have to stay where they are.

    python -m tests.heavy.soak
    python -m tests.heavy.soak --minutes 2 --every-s 10 --callers 8

Callers of three tenants ask the embedded models without a pause: rollouts new to the cache and known ones, on several
routes, a foreign one among them, and what must not leak either (wrong keys, bodies that are no JSON, deadlines that
pass, callers who hang up). The cache is small, so that it is full when the measuring begins.

Prints a line each interval, then how much each figure changed over the whole time by its median slope (Theil and Sen:
the slopes between all pairs of intervals). Leaves with 1 where one grew by more than is allowed, and three pairs in
four say so, or where a good call was refused. Latency says little while the machine has other work, or in intervals of
a few calls.
"""

import argparse
import asyncio
import itertools
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from assayd.admission.tenant_file import add_tenant

from ..processes import Process, assayd
from .figures import percentile

WORDS = "you rat thanks dear stupid letter jars twelve because therefore please idiot sum step answer kind".split()
TENANTS = {"heavy": {"weight": 1.0}, "light": {"weight": 4.0}, "counted": {"quotas": [{"requests": 100_000}]}}
GROWTH = {"memory_mb": 0.05, "descriptors": 0.05, "p50_s": 0.25, "p95_s": 0.25}
"""The most that a figure may grow over the whole time, as a share of its median."""
FLOOR = {"memory_mb": 20.0, "descriptors": 10.0, "p50_s": 0.05, "p95_s": 0.2}
"""Less growth than this is noise, whatever its share."""


@dataclass
class Interval:
    """What was seen while it lasted."""

    took_s: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    rollouts: int = 0


class Load:
    """Calls without an end; ``interval`` is where they are counted now."""

    def __init__(self, url: str, keys: dict[str, str], seed: int) -> None:
        self.interval = Interval()
        self.wrong: Counter[str] = Counter()
        self._url = url
        self._keys = keys
        self._random = random.Random(seed)
        self._numbers = itertools.count()

    async def caller(self, tenant: str) -> None:
        """One trainer's worker."""
        headers = {"Authorization": f"Bearer {self._keys[tenant]}"}
        async with httpx.AsyncClient(base_url=self._url, headers=headers, timeout=120) as client:
            while True:
                await (self._misuse(client) if self._random.random() < 0.1 else self._use(client))

    async def _use(self, client: httpx.AsyncClient) -> None:
        rollouts = [self._rollout() for _ in range(self._random.choice((1, 4, 16)))]
        route, body = self._random.choice(
            (
                ("/score/token", {"task": "relc-toxicity", "rollouts": rollouts}),
                ("/score/segment", {"rollouts": rollouts}),
                ("/score/sequence", {"rollouts": rollouts}),
                ("/remote_rm", {"prompt": "Hello", "response": rollouts[0]["completion"]["text"]}),
            )
        )
        started = time.monotonic()
        answer = await client.post(route, json={**body, "timeout_s": 60} if "rollouts" in body else body)
        self.interval.took_s.append(time.monotonic() - started)
        self.interval.answers[str(answer.status_code)] += 1
        if answer.status_code != httpx.codes.OK:
            self.wrong[f"{route} {answer.status_code} {answer.text[:200]}"] += 1
            await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))
        self.interval.rollouts += len(rollouts) if "rollouts" in body else 1

    async def _misuse(self, client: httpx.AsyncClient) -> None:
        body = {"task": "relc-toxicity", "rollouts": [self._rollout()]}
        match self._random.randrange(4):
            case 0:
                answer = await client.post("/score/token", json=body, headers={"Authorization": "Bearer no"})
                self._expect(answer, httpx.codes.UNAUTHORIZED)
            case 1:
                answer = await client.post("/score/token", content=b'{"rollouts": [')
                self._expect(answer, httpx.codes.BAD_REQUEST)
            case 2:
                late = {"X-Assay-Timeout-S": "0.002"}
                answer = await client.post("/score/token", json=body, headers=late)
                self._expect(
                    answer, httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT
                )
            case _:
                with suppress(httpx.TimeoutException):
                    await client.post("/score/token", json=body, timeout=0.02)

    def _expect(self, answer: httpx.Response, *statuses: int) -> None:
        if answer.status_code not in statuses:
            self.wrong[f"misuse {answer.status_code} {answer.text[:200]}"] += 1

    def _rollout(self) -> dict[str, Any]:
        number = next(self._numbers)
        if self._random.random() < 0.2:
            number = self._random.randrange(100)  # one that is asked for again and again
        words = random.Random(number)
        text = " ".join(words.choices(WORDS, k=words.randrange(4, 60)))
        return {"id": str(number), "prompt": f"Letter {number}", "completion": {"text": text}}


def slopes(values: list[float]) -> tuple[float, float]:
    """The change from one interval to the next: the median of all pairs, and what three in four of them exceed."""
    pairs = itertools.combinations(enumerate(values), 2)
    quartiles = statistics.quantiles([(late - early) / (j - i) for (i, early), (j, late) in pairs])
    return quartiles[1], quartiles[0]


async def soak(
    service: Process, load: Load, callers: int, intervals: int, every_s: float
) -> dict[str, list[float]]:
    """Figures by name, one each interval, after a quarter as many for warming up: all sizes seen, a full cache."""
    figures: dict[str, list[float]] = {name: [] for name in GROWTH}
    tenants = itertools.cycle(TENANTS)
    tasks = [asyncio.create_task(load.caller(next(tenants))) for _ in range(callers)]
    warm = max(intervals // 4, 1)
    try:
        for number in range(-warm, intervals):
            load.interval = Interval()
            done, _ = await asyncio.wait(tasks, timeout=every_s, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
            seen = load.interval
            latencies_s = (percentile(seen.took_s, 0.5), percentile(seen.took_s, 0.95))
            now = (service.memory_mb, float(service.descriptors), *latencies_s)
            print(
                f"{'warming up' if number < 0 else f'{(number + 1) * every_s / 60:6.1f} min'}: "
                f"{now[0]:7.1f} MB {now[1]:4.0f} descriptors, p50 {now[2]:.3f} s, p95 {now[3]:.3f} s, "
                f"{seen.rollouts / every_s:6.1f} rollouts/s, answers {dict(seen.answers)}",
                flush=True,
            )
            if number >= 0:
                for values, value in zip(figures.values(), now, strict=True):
                    values.append(value)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return figures


def verdict(figures: dict[str, list[float]], say: Callable[[str], object]) -> bool:
    """Whether every figure stayed flat."""
    flat = True
    for name, values in figures.items():
        slope, surely = slopes(values)
        median, change = statistics.median(values), slope * (len(values) - 1)
        allowed = max(GROWTH[name] * median, FLOOR[name])
        grew = change > allowed and surely > 0
        flat = flat and not grew
        say(
            f"{name}: median {median:.3f}, {change:+.3f} over the whole time (allowed +{allowed:.3f})"
            f"{': IT GROWS' if grew else ''}"
        )
    return flat


def main() -> None:
    """Soak, print, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--every-s", type=float, default=60.0)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    intervals = round(options.minutes * 60 / options.every_s)
    if intervals < 3:
        parser.error("a slope needs three intervals: more --minutes, or a smaller --every-s")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "tenants.toml"
        keys = {tenant: add_tenant(file, tenant, terms) for tenant, terms in TENANTS.items()}
        settings = {"tenants__path": str(file), "cache__max_mb": "2", "compat__method": "sequence"}
        with assayd(folder / "assayd.log", **settings) as service:
            load = Load(service.url, keys, options.seed)
            figures = asyncio.run(soak(service, load, options.callers, intervals, options.every_s))
    flat = verdict(figures, print)
    for what, times in load.wrong.most_common(5):
        print(f"{times} times: {what}")
    sys.exit(0 if flat and not load.wrong else 1)


if __name__ == "__main__":
    main()
