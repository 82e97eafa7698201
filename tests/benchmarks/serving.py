"""What the benchmarks share: a server in a process of its own, texts of mixed lengths, interleaved rounds."""

import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

WORDS = "the cat sat on a mat and then ran away from two small dogs who were eating 12 apples in their garden".split()


def texts(count: int, seed: int) -> list[str]:
    """Distinct completions of mixed lengths: a tenth under 10 words, half under 60, the longest 300."""
    dice = random.Random(seed)
    lengths = [min(300, int(dice.lognormvariate(4.0, 0.9)) + 3) for _ in range(count)]
    return [
        f"{seed} {number} " + " ".join(dice.choices(WORDS, k=length)) for number, length in enumerate(lengths)
    ]


@contextmanager
def served(*command: str, ready: str = "/readyz") -> Iterator[str]:
    """``python *command --port N`` in a process of its own, one torch thread; gives its address once it is ready."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, *command, "--port", str(port)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ASSAY_SERVER__DRAIN_S": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(f"{url}{ready}", process)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    give_up_at_s = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < give_up_at_s:
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit("the server did not start")


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
