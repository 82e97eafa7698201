"""Ten times the load that the engine can carry: who is let in is served in time, the others are told at once.

    python -m tests.heavy.overload
    python -m tests.heavy.overload --seconds 20 --peak-seconds 15 --factor 10 --timeout-s 4

The embedded models, in a service of their own. First calls come as they are answered, a few at a time: that is the
peak. Then they come at ``--factor`` times that rate, answered or not; then as at first again, because machines that are
shared change their pace. Prints the figures; exits 1 when a promise is broken: those let in keep their deadline (p99),
the rest get 429 or 503 with Retry-After in under 100 ms (p99), memory is bounded, and what is judged in a second is at
least 0.9 of the peak (the mean of both).
"""

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import fmean

from ..processes import Process, assayd
from .calls import Answer, Calls, score
from .figures import Promises, percentile

AT_PEAK = 16
PATIENCE_S = 600.0
REFUSED = (429, 503)
GROWTH_MB = 300.0
"""What a service may hold more under any load: what is in flight, and a bounded cache."""


async def peak(port: int, calls: Calls, rollouts: int, seconds: float) -> float:
    """Rollouts a second, when as many callers as keep the engine busy wait for their answers."""
    judged, ends_s = 0, time.monotonic() + seconds

    async def caller() -> None:
        nonlocal judged
        while time.monotonic() < ends_s:
            answer = await score(port, calls.body(rollouts, PATIENCE_S), PATIENCE_S)
            if time.monotonic() < ends_s:
                judged += answer.outcomes.count("ok")

    await asyncio.gather(*(caller() for _ in range(AT_PEAK)))
    return judged / seconds


async def flood(
    hosted: Process, calls: Calls, rollouts: int, seconds: float, calls_per_s: float, timeout_s: float
) -> tuple[list[Answer], float]:
    """The answers to calls that come at a rate of their own, and the most memory that the service held."""
    pending: list[asyncio.Task[Answer]] = []
    began_s = time.monotonic()
    memory_mb = 0.0
    for index in range(int(seconds * calls_per_s)):
        await asyncio.sleep(max(0.0, began_s + index / calls_per_s - time.monotonic()))
        body = calls.body(rollouts, timeout_s)
        pending.append(asyncio.create_task(score(hosted.port, body, timeout_s)))
        if index % 50 == 0:
            memory_mb = max(memory_mb, hosted.memory_mb)
    return list(await asyncio.gather(*pending)), max(memory_mb, hosted.memory_mb)


async def measured(hosted: Process, said: argparse.Namespace) -> None:
    """Both loads, and what came of them."""
    calls = Calls(said.seed)
    await peak(hosted.port, calls, said.rollouts, said.peak_seconds / 3)
    before_mb = hosted.memory_mb
    rate = await peak(hosted.port, calls, said.rollouts, said.peak_seconds)
    offered = said.factor * rate / said.rollouts
    print(
        f"peak: {rate:.1f} rollouts/s; offered: {offered:.1f} calls/s of {said.rollouts} for {said.seconds} s"
    )
    answers, most_mb = await flood(hosted, calls, said.rollouts, said.seconds, offered, said.timeout_s)
    after = await peak(hosted.port, calls, said.rollouts, said.peak_seconds)
    print(f"peak again: {after:.1f} rollouts/s")
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
    grown_mb = most_mb - before_mb
    promises.check(
        f"memory grows by less than {GROWTH_MB:g} MB", kept=grown_mb < GROWTH_MB, told=f"{grown_mb:.0f} MB"
    )
    judged = kinds["ok"] / said.seconds
    share = judged / fmean((rate, after)) if rate else 0.0
    told = f"{share:.2f} ({judged:.1f} rollouts/s)"
    promises.check("throughput is at least 0.9 of the peak", kept=share >= 0.9, told=told)
    promises.leave()


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--peak-seconds", type=float, default=30.0)
    parser.add_argument("--factor", type=float, default=10.0)
    parser.add_argument("--rollouts", type=int, default=4, help="rollouts in a call")
    parser.add_argument("--timeout-s", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, assayd(Path(folder) / "assayd.log") as hosted:
        asyncio.run(measured(hosted, said))


if __name__ == "__main__":
    main()
