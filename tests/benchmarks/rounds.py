"""What the benchmarks share: texts of mixed lengths, rounds of several ways in turn, and a table of them."""

import os
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..texts import mixed


def texts(count: int, seed: int) -> list[str]:
    """Distinct completions of mixed lengths."""
    dice = random.Random(seed)
    return [mixed(f"{seed} {number}", dice) for number in range(count)]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to do the work: how many items a round has, and what does them."""

    count: int
    work: Callable[[list[str]], None]


def measured(ways: Mapping[str, Way], rounds: int) -> dict[str, list[float]]:
    """Items per second of each way and round. Rounds are interleaved, because neighbours of a measurement change.

    The texts of a round are the same for all ways of one size, and new to every cache. A first round is not counted.
    """
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with ThreadPoolExecutor(1) as worker:
        for turn in range(-1, rounds):
            for name, way in ways.items():
                warm_up = turn < 0
                items = (
                    texts(8, seed=hash(name) % 1000)
                    if warm_up
                    else texts(way.count, seed=1000 * way.count + turn)
                )
                began_s = time.perf_counter()
                worker.submit(way.work, items).result()
                if not warm_up:
                    rates[name].append(way.count / (time.perf_counter() - began_s))
    return rates


def report(rates: Mapping[str, Sequence[float]], against: Mapping[str, str]) -> None:
    """Medians and ranges of each way, and its ratio to the ways named in ``against`` (column heading -> way)."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    headings = "".join(f"{heading:>14}" for heading in against)
    print(f"{'items/s':56}{'median':>9}{'min':>9}{'max':>9}{headings}")
    for name, values in rates.items():
        ratios = "".join(f"{medians[name] / medians[other]:14.2f}" for other in against.values())
        print(f"{name:56}{medians[name]:9.2f}{min(values):9.2f}{max(values):9.2f}{ratios}")
    print("load average " + ", ".join(f"{value:.1f}" for value in os.getloadavg()))
