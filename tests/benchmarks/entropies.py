"""Memory and time of entropies over a large vocabulary: in chunks, as the service does, against log-softmax at once.

``OMP_NUM_THREADS=1 python -m tests.benchmarks.entropies [--vocabulary 150000] [--tokens 256 512 1024]``. Every
measurement is a process of its own: it makes hidden states and an output layer, notes its peak resident memory,
weighs all tokens, and reports by how much the peak grew (``ru_maxrss``; torch's allocations count, which
``tracemalloc`` does not see) and how long it took. Prints a table and writes nothing.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import torch
from torch import Tensor

from assayd.engines.transformers.entropies import CHUNK_BYTES, weigh

WIDTH = 256
MIB = 2**20
WAYS = ("naive", "chunked")


def naive(layer: torch.nn.Linear, hidden_nd: Tensor, next_ids_n: Tensor) -> tuple[Tensor, Tensor]:
    """What one writes first: log-softmax of all logits in float32."""
    logprobs_nv = layer(hidden_nd).float().log_softmax(-1)
    entropies_n = -(logprobs_nv.exp() * logprobs_nv).sum(-1)
    return logprobs_nv.gather(-1, next_ids_n[:, None])[:, 0], entropies_n


def measure(way: str, tokens: int, vocabulary: int, dtype: str) -> dict[str, float]:
    """Growth of the peak in MiB, seconds, and the mean entropy, of one way in this process."""
    torch.manual_seed(0)
    kind = getattr(torch, dtype)
    layer = torch.nn.Linear(WIDTH, vocabulary, bias=False, dtype=kind)
    hidden_nd = torch.randn(tokens, WIDTH, dtype=kind)
    next_ids_n = torch.randint(0, vocabulary, (tokens,))
    with torch.inference_mode():
        # The first product of a size makes buffers that are no part of either way.
        layer(hidden_nd[:1])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began_s = time.perf_counter()
        if way == "naive":
            _, entropies_n = naive(layer, hidden_nd, next_ids_n)
        else:
            _, entropies_n = weigh(lambda states: layer(states).float(), hidden_nd, next_ids_n, vocabulary)
        spent_s = time.perf_counter() - began_s
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"grown_mib": (after - before) / 1024, "spent_s": spent_s, "entropy": entropies_n.mean().item()}


def in_a_process(way: str, tokens: int, vocabulary: int, dtype: str) -> dict[str, float]:
    """The same in a fresh process, whose peak nothing else has raised."""
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.entropies",
        "--measure",
        way,
        str(tokens),
        str(vocabulary),
        dtype,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=int, default=150_000)
    parser.add_argument("--tokens", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--dtypes", nargs="+", default=["float32"], help="bfloat16 is very slow on most CPUs")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        way, tokens, vocabulary, dtype = arguments.measure
        print(json.dumps(measure(way, int(tokens), int(vocabulary), dtype)))
        return
    print(f"vocabulary {arguments.vocabulary}, width {WIDTH}, chunks of {CHUNK_BYTES / MIB:.0f} MiB")
    print(
        f"{'dtype':10}{'tokens':>8}{'float32 logits':>16}{'naive':>22}{'chunked':>22}{'memory':>9}{'time':>7}"
    )
    for dtype in arguments.dtypes:
        for tokens in arguments.tokens:
            report(tokens, arguments.vocabulary, dtype)


def report(tokens: int, vocabulary: int, dtype: str) -> None:
    """One line of the table: MiB and seconds of each way, and what chunks need of either."""
    one, other = (in_a_process(way, tokens, vocabulary, dtype) for way in WAYS)
    assert abs(one["entropy"] - other["entropy"]) < 1e-3, (one, other)
    cells = "".join(f"{way['grown_mib']:12.0f} MiB{way['spent_s']:5.2f}s" for way in (one, other))
    memory, spent = other["grown_mib"] / one["grown_mib"], other["spent_s"] / one["spent_s"]
    print(f"{dtype:10}{tokens:8}{4 * tokens * vocabulary / MIB:12.0f} MiB{cells}{memory:9.2f}{spent:7.2f}")


if __name__ == "__main__":
    main()
