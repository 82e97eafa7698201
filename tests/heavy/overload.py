"""Ten times the load that the engine can carry: who is let in is served in time, the others are told at once.

    python -m tests.heavy.overload
    python -m tests.heavy.overload --engine embedded
    python -m tests.heavy.overload --seconds 20 --peak-seconds 15 --rounds 1 --factor 10 --timeout-s 4

The engine is a critic in a process of its own that takes in so many questions at a time, as on a GPU host: so what it
can carry is fixed. ``--engine embedded`` has two models in the service's own process instead, on the cores that the
refusing and the asking need as well.

First calls come as they are answered, a few at a time: that is the peak. Then they come at ``--factor`` times that
rate, answered or not; then as at first again, and so on: machines that are shared change their pace from minute to
minute, so each flood is compared with the peaks before and behind it. Prints the figures; exits 1 when a promise is
broken: those let in keep their deadline (p99), the rest get 429 or 503 with Retry-After in under 100 ms (p99), memory
is bounded, and what is judged in a second is at least 0.9 of the peak (the median of the rounds).
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from statistics import fmean, median
from typing import TypeAlias

import uvloop

from ..processes import Process, assayd
from .calls import Answer, Calls, Client
from .deployment import critic, replica
from .figures import Promises, percentile
from .load import call

AT_PEAK = 16
AT_ONCE = 12
"""Questions that the critic is asked at a time; it thinks for 0.3 s about each, in the mean."""
PATIENCE_S = 600.0
SETTLED_S = 5.0
"""After so long as many leave as come in, at the peak and under a flood: only then is counted."""
REFUSED = (429, 503)
GROWTH_MB = 300.0
"""What a service may hold more under any load: what is in flight, and a bounded cache."""

Body: TypeAlias = Callable[[int, float], bytes]
"""A call with so many rollouts that no cache has seen, and so much time (seconds)."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A service, a client of it, and what that asks."""

    service: Process
    client: Client
    body: Body


@contextmanager
def embedded(folder: Path) -> Iterator[Loaded]:
    """Asked for segments: two models in its own process."""
    with assayd(folder / "assayd.log") as service:
        yield Loaded(service, Client(service.port), Calls(seed=0).body)


@contextmanager
def served(folder: Path) -> Iterator[Loaded]:
    """Asked for tokens: a critic in a process of its own."""
    numbers = count()

    def body(rollouts: int, timeout_s: float) -> bytes:
        return json.dumps(call(list(islice(numbers, rollouts)), timeout_s)).encode()

    with (
        critic(folder) as judge,
        replica(folder, "assayd", judge.url, critic__max_in_flight=AT_ONCE) as service,
    ):
        yield Loaded(service, Client(service.port, "/score/token"), body)


ENGINES = {"served": served, "embedded": embedded}


def judged_per_s(answers: list[Answer], since_s: float, until_s: float) -> float:
    """Rollouts a second that were judged in a time (``time.monotonic``), whenever they had been sent."""
    within = (one for one in answers if one.status == 200 and since_s <= one.at_s < until_s)
    return sum(one.outcomes.count("ok") for one in within) / (until_s - since_s)


async def peak(loaded: Loaded, rollouts: int, seconds: float) -> float:
    """Rollouts a second, when as many callers as keep the engine busy wait for their answers."""
    answers: list[Answer] = []
    since_s = time.monotonic() + SETTLED_S
    ends_s = since_s + seconds

    async def caller() -> None:
        while time.monotonic() < ends_s:
            answers.append(await loaded.client.score(loaded.body(rollouts, PATIENCE_S), PATIENCE_S))

    await asyncio.gather(*(caller() for _ in range(AT_PEAK)))
    return judged_per_s(answers, since_s, ends_s)


async def flood(
    loaded: Loaded, rollouts: int, seconds: float, calls_per_s: float, timeout_s: float
) -> tuple[list[Answer], float, float]:
    """The answers to calls that come at a rate of their own, rollouts judged in a second meanwhile, and most memory."""
    # Made beforehand: to make thousands of bodies is work for the same cores.
    bodies = [loaded.body(rollouts, timeout_s) for _ in range(int((SETTLED_S + seconds) * calls_per_s))]
    pending: list[asyncio.Task[Answer]] = []
    began_s = time.monotonic()
    memory_mb = 0.0
    for index, body in enumerate(bodies):
        await asyncio.sleep(max(0.0, began_s + index / calls_per_s - time.monotonic()))
        pending.append(asyncio.create_task(loaded.client.score(body, timeout_s)))
        if index % 50 == 0:
            memory_mb = max(memory_mb, loaded.service.memory_mb)
    answers = list(await asyncio.gather(*pending))
    since_s = began_s + SETTLED_S
    return (
        answers,
        judged_per_s(answers, since_s, since_s + seconds),
        max(memory_mb, loaded.service.memory_mb),
    )


@dataclass(slots=True)
class Floods:
    """What came of all of them."""

    answers: list[Answer] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    """Of each, what was judged in a second, to the peaks around it."""
    most_mb: float = 0.0


async def flooded(loaded: Loaded, said: argparse.Namespace) -> tuple[Floods, float]:
    """Peaks and floods in turn, and the memory that the service held before the first of them."""
    floods = Floods()
    await peak(loaded, said.rollouts, said.peak_seconds / 3)
    before_mb = loaded.service.memory_mb
    rate = await peak(loaded, said.rollouts, said.peak_seconds)
    for _ in range(said.rounds):
        offered = said.factor * rate / said.rollouts
        answers, judged, most_mb = await flood(loaded, said.rollouts, said.seconds, offered, said.timeout_s)
        after = await peak(loaded, said.rollouts, said.peak_seconds)
        floods.answers += answers
        floods.shares.append(judged / fmean((rate, after)))
        floods.most_mb = max(floods.most_mb, most_mb)
        print(
            f"peak {rate:.1f} rollouts/s, then {offered:.1f} calls/s of {said.rollouts} for {said.seconds:g} s: "
            f"{judged:.1f} rollouts/s, then {after:.1f}: {floods.shares[-1]:.2f} of the peak",
            flush=True,
        )
        rate = after
    return floods, before_mb


async def measured(loaded: Loaded, said: argparse.Namespace) -> None:
    """Both loads, and what came of them."""
    floods, before_mb = await flooded(loaded, said)
    answers = floods.answers
    answered = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status in REFUSED]
    kinds = Counter(kind for answer in answered for kind in answer.outcomes)
    print(
        f"answered {len(answered)}, refused {len(refused)} of {len(answers)} calls; rollouts: {dict(kinds)}"
    )
    served_s, refused_s = [one.took_s for one in answered], [one.took_s for one in refused]
    print(f"answered: p50 {percentile(served_s, 0.5):.2f} s, p99 {percentile(served_s, 0.99):.2f} s")
    print(
        f"refused: p50 {1e3 * percentile(refused_s, 0.5):.0f} ms, p99 {1e3 * percentile(refused_s, 0.99):.0f} ms, "
        f"longest {1e3 * max(refused_s, default=0):.0f} ms"
    )
    promises = Promises()
    others = Counter(one.status for one in answers if one.status not in (200, *REFUSED))
    promises.check("every call is judged or refused", kept=not others, told=dict(others) or len(answers))
    promises.check("some are judged, some refused", kept=bool(answered and refused), told=len(refused))
    p99_s = percentile(served_s, 0.99)
    promises.check(
        f"those let in keep their {said.timeout_s:g} s (p99)",
        kept=p99_s <= said.timeout_s,
        told=f"{p99_s:.2f} s",
    )
    p99_s = percentile(refused_s, 0.99)
    promises.check("the rest are told in under 100 ms (p99)", kept=p99_s < 0.1, told=f"{1e3 * p99_s:.0f} ms")
    honest = all(float(one.headers.get("retry-after", 0)) >= 1 for one in refused)
    promises.check("with a Retry-After", kept=honest, told=honest)
    grown_mb = floods.most_mb - before_mb
    promises.check(
        f"memory grows by less than {GROWTH_MB:g} MB", kept=grown_mb < GROWTH_MB, told=f"{grown_mb:.0f} MB"
    )
    share = median(floods.shares)
    promises.check("throughput is at least 0.9 of the peak", kept=share >= 0.9, told=f"{share:.2f}")
    promises.leave()


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=ENGINES, default="served")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--peak-seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--factor", type=float, default=10.0)
    parser.add_argument("--rollouts", type=int, default=4, help="rollouts in a call")
    parser.add_argument("--timeout-s", type=float, default=5.0)
    said = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        ENGINES[said.engine](Path(folder)) as loaded,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(measured(loaded, said))


if __name__ == "__main__":
    main()
