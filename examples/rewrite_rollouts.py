"""Sends the wrong rollouts of a file through ``/rewrite`` and prints what became of them.

    python -m examples.rewrite_rollouts rollouts.jsonl
    python -m examples.rewrite_rollouts rollouts.jsonl http://127.0.0.1:8000

The rollouts are lines ``{"prompt", "completion": {"text"}, "reference", "correct"}``. Without a URL a service is
started on the embedded models. Nobody tells it which solutions are right: it has to find out, and to pay none that is
wrong.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import TypeVar

from rich.console import Console
from rich.table import Table

import assay

from .demo import service

PER_CALL = 64
TIMEOUT_S = 600.0
ROWS = {"rows": ["record", "grm"]}

R = TypeVar("R")


def wrong_rollouts(path: Path) -> list[dict]:
    """Those whose final answer is wrong, without a word on that; a line that lacks a field ends the run."""
    rollouts = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for number, rollout in enumerate(rollouts, start=1):
        if lacking := {"prompt", "completion", "reference", "correct"} - rollout.keys():
            raise SystemExit(f"{path}, line {number} has no {', '.join(sorted(lacking))}\n\n{__doc__}")
    return [
        {name: rollout[name] for name in ("prompt", "completion", "reference")}
        for rollout in rollouts
        if rollout["correct"] is False
    ]


def in_batches(call: Callable[..., assay.Answer[R]], rollouts: Sequence[dict]) -> Iterator[R | assay.Failed]:
    """The results of all rollouts, so many a call."""
    for start in range(0, len(rollouts), PER_CALL):
        yield from call(rollouts[start : start + PER_CALL], timeout_s=TIMEOUT_S).results


def paid_as_right(rewrite: assay.Rewritten | assay.Failed, probe: assay.Probed | assay.Failed) -> bool:
    """Whether a trainer would take this solution for a right one: by any of what the service says of it."""
    recorded = isinstance(rewrite, assay.Rewritten) and (
        rewrite.correct is True
        or (rewrite.record or {}).get("error_step") == -1
        or any(row["task"] == "copy" for row in rewrite.training_rows)
    )
    return recorded or (
        isinstance(probe, assay.Probed) and (probe.branch == "correct" or max(probe.rewards) > 0)
    )


def verdict(rollout: dict, result: assay.Rewritten | assay.Failed) -> str:
    """What became of one rollout."""
    if isinstance(result, assay.Failed):
        return f"failed: {result.kind}"
    if result.verified is False and result.rewritten == rollout["completion"]["text"]:
        return "ok, not verified: left as it was"
    return {True: "ok, verified", False: "ok, not verified", None: "ok, answer not comparable"}[
        result.verified
    ]


def main() -> None:
    """Correct every wrong rollout, pay it, and count."""
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    rollouts = wrong_rollouts(Path(sys.argv[1]))
    running = nullcontext(sys.argv[2]) if len(sys.argv) == 3 else service()
    with running as url, assay.Client(url) as client:
        began_s = time.monotonic()
        rewrites = list(in_batches(lambda batch, **how: client.rewrite(batch, options=ROWS, **how), rollouts))
        took_s = time.monotonic() - began_s
        probes = list(
            in_batches(lambda batch, **how: client.score_token(batch, method="grm", **how), rollouts)
        )
    counted = Counter(map(verdict, rollouts, rewrites))
    unpaid = Counter(probe.kind for probe in probes if isinstance(probe, assay.Failed))
    ratios = [result.edit_ratio for result in rewrites if isinstance(result, assay.Rewritten)]
    table = Table(title=f"{len(rollouts)} wrong rollouts, rewritten in {took_s:.0f} s")
    table.add_column("outcome")
    table.add_column("rollouts", justify="right")
    for outcome, count in counted.most_common():
        table.add_row(outcome, str(count))
    table.add_section()
    table.add_row("paid by grm", str(len(probes) - unpaid.total()))
    for kind, count in unpaid.most_common():
        table.add_row(f"not paid by grm: {kind}", str(count))
    positive = sum(map(paid_as_right, rewrites, probes))
    table.add_row("in the positive branch (must be 0)", str(positive))
    table.add_row("median edit ratio", f"{median(ratios):.3f}" if ratios else "")
    Console(width=100).print(table)
    if positive:
        raise SystemExit("a wrong solution was taken for a right one")


if __name__ == "__main__":
    main()
