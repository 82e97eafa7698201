"""``kill -9`` at random moments of ``assayd annotate``: the output must be that of an undisturbed run, row for row.

    python -m tests.heavy.annotate_killed rollouts.jsonl
    python -m tests.heavy.annotate_killed rollouts.jsonl --kills 20 --seed 1 -- --with segment --url http://127.0.0.1:8000

What stands behind ``--`` goes to ``assayd annotate``; without it, rows are given token rewards, segments and rewrites
by a service in the process that is killed, on engines without weights unless the environment names others. A third of
the kills come at a random time after the start, imports included, a third at a random row, a third at a random time
around the moment at which the last row is safe and the output is written.

Real models round by what else is in their batch: ``--tolerance 1e-4`` for those.
"""

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from assayd.offline.journal import read_entries

from ..processes import WEIGHTLESS

OPTIONS = '[segment.options]\nnormalizer = "none"\n[rewrite.options]\nrows = ["grm", "record"]\n'
STARTS_WITHIN_S = 4.0


def annotate(source: Path, out: Path, how: list[str], log: Path) -> subprocess.Popen[bytes]:
    """One run in a process of its own."""
    command = [sys.executable, "-m", "assayd", "annotate", str(source), str(out), *how]
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env={**WEIGHTLESS, **os.environ})


def rows_in(journal: Path) -> int:
    """Rows that are safe."""
    return sum(1 for _ in read_entries(journal))


def kill(process: subprocess.Popen[bytes], when: Callable[[], bool]) -> bool:
    """Kill it as soon as ``when`` says; False where it had ended before."""
    while process.poll() is None:
        if when():
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.001)
    return False


def main() -> None:
    """Run once in peace and once under fire, and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rollouts", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tolerance", type=float, default=0.0)
    ours, theirs = sys.argv[1:], []
    if "--" in ours:
        place = ours.index("--")
        ours, theirs = ours[:place], ours[place + 1 :]
    said = parser.parse_args(ours)
    chance = random.Random(said.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options, log = folder / "options.toml", folder / "log"
        options.write_text(OPTIONS)
        how = theirs or [
            "--with",
            "token,segment,rewrite",
            "--task",
            "math-steps",
            "--options",
            str(options),
        ]
        calm, out = folder / "calm.jsonl", folder / "out.jsonl"
        journal = out.with_name("out.jsonl.assay") / "journal"
        began_s = time.monotonic()
        if annotate(said.rollouts, calm, how, log).wait() != 0:
            raise SystemExit(log.read_text())
        took_s = time.monotonic() - began_s
        rows = sum(1 for _ in calm.open("rb"))
        print(f"undisturbed: {rows} rows in {took_s:.1f} s")
        kills = 0
        while kills < said.kills:
            safe = rows_in(journal)
            left = said.kills - kills
            process = annotate(said.rollouts, out, how, log)
            started_s = time.monotonic()
            if left <= said.kills // 3 and safe < rows:
                goal, after_s = rows, chance.uniform(0.0, 0.5)
            elif chance.random() < 0.5 or safe == rows:
                goal, after_s = 0, chance.uniform(0.0, STARTS_WITHIN_S)
            else:
                goal, after_s = safe + chance.randint(1, max(1, 2 * (rows - safe) // left)), 0.0

            def due(goal: int = goal, after_s: float = after_s, started_s: float = started_s) -> bool:
                if goal == 0:
                    return time.monotonic() - started_s >= after_s
                if rows_in(journal) < min(goal, rows):
                    return False
                time.sleep(after_s)
                return True

            hit = kill(process, due)
            kills += hit
            now = rows_in(journal)
            print(
                f"{'kill' if hit else 'ended'} {kills:2}: {safe} rows before, {now} safe, output there: {out.exists()}"
            )
            if now < safe:
                raise SystemExit("rows were lost")
        if annotate(said.rollouts, out, how, log).wait() != 0:
            raise SystemExit(log.read_text())
        differing = compare(calm, out, said.tolerance)
    print(f"{kills} kills, {rows} rows, {differing} differ")
    raise SystemExit(differing != 0)


def compare(calm: Path, out: Path, tolerance: float) -> int:
    """Rows that differ by more than ``tolerance``, those that only one file has included."""
    before, after = (path.read_text(encoding="utf-8").splitlines() for path in (calm, out))
    differing, bits, widest = abs(len(before) - len(after)), 0, 0.0
    for one, two in zip(before, after, strict=False):
        apart = 0.0 if one == two else distance(json.loads(one), json.loads(two))
        bits += one != two
        widest = max(widest, apart)
        differing += apart > tolerance
    print(f"{bits} rows are not the same bytes, the greatest difference of a number is {widest:.3g}")
    return differing


def distance(one: object, two: object) -> float:
    """The greatest difference between numbers at the same place; infinite where anything else differs."""
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        return max((distance(one[name], two[name]) for name in one), default=0.0)
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        return max((distance(*pair) for pair in zip(one, two, strict=True)), default=0.0)
    if isinstance(one, float) and isinstance(two, float):
        return abs(one - two)
    return 0.0 if one == two else math.inf


if __name__ == "__main__":
    main()
