"""Single-rollout calls of many threads, one request each, against the same calls gathered, and against one batch.

``OMP_NUM_THREADS=1 python -m tests.benchmarks.coalescing [--rounds 3]``. The service runs the embedded models in a
process of its own; 128 threads ask for one rollout at a time, as most trainers do. First no model is asked (the gate
``threshold`` is shut), so that what the wire costs is seen alone; then the embedded segment model scores fresh texts.
Counts differ by one from way to way so that the cache never helps. Prints a table and how many requests a way made;
record results by hand in RESULTS.md.
"""

import argparse
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

import assay

from ..processes import assayd
from .rounds import Way, measured, report

THREADS = 128
COUNT = 768
SCORED = 128


class Counting(httpx.HTTPTransport):
    """Counts requests."""

    requests = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Make one."""
        Counting.requests += 1
        return super().handle_request(request)


def gated(call: Callable[..., Any], item: Any) -> Any:
    """A call that no model is asked for."""
    return call(item, task="relc-toxicity", options={"threshold": 0.0}, timeout_s=300)


def segments(call: Callable[..., Any], item: Any) -> Any:
    """A call for the segment model."""
    return call(item, options={"normalizer": "none"}, timeout_s=300)


def judged(results: list[Any]) -> None:
    """Every rollout has its rewards."""
    assert not any(isinstance(one, assay.Failed) for one in results), results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, assayd(Path(folder) / "assayd.log") as service:
        http = httpx.Client(transport=Counting(limits=httpx.Limits(max_connections=64)), base_url=service.url)
        client = assay.Client(http=http, limits=assay.Limits(max_connections=64))
        coalescer = assay.Coalescer(client)
        ways: dict[str, Way] = {}
        requests: dict[str, list[int]] = {}

        def way(name: str, count: int, work: Callable[[list[Any]], list[Any]]) -> None:
            def counted(texts: list[str]) -> None:
                before = Counting.requests
                judged(work([{"completion": {"text": text}, "extrinsic_reward": 1.0} for text in texts]))
                requests.setdefault(name, []).append(Counting.requests - before)

            ways[name] = Way(count, counted)

        def threaded(one: Callable[[Any], Any]) -> Callable[[list[Any]], list[Any]]:
            def work(items: list[Any]) -> list[Any]:
                with ThreadPoolExecutor(THREADS) as threads:
                    return [*threads.map(one, items)]

            return work

        for kind, count, ask, single, gathered in (
            ("no model", COUNT, gated, client.score_token, coalescer.score_token),
            ("segments", SCORED, segments, client.score_segment, coalescer.score_segment),
        ):
            way(
                f"{kind}: one request each",
                count,
                threaded(lambda item, ask=ask, single=single: ask(single, [item]).results[0]),
            )
            way(
                f"{kind}: gathered",
                count + 1,
                threaded(lambda item, ask=ask, gathered=gathered: ask(gathered, item)),
            )
            way(
                f"{kind}: one call of all",
                count + 2,
                lambda items, ask=ask, single=single: list(ask(single, items).results),
            )
        rates = measured(ways, rounds)
    for kind in ("no model", "segments"):
        mine = {name: values for name, values in rates.items() if name.startswith(kind)}
        report(mine, {"/single": f"{kind}: one request each"})
    for name, made in requests.items():
        print(f"{name:56}{ways[name].count:6} rollouts in {made[-1]} requests")


if __name__ == "__main__":
    main()
