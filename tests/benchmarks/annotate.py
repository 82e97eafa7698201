"""Peak memory and speed of ``assayd annotate`` at two sizes of data set: memory must not follow the size.

    python -m tests.benchmarks.annotate rollouts.jsonl --sizes 2640 264000 --with token,segment

The rows of the file are repeated with prompts of their own, so that no two are alike. Both processes are measured where
there are two: ``--url`` keeps the service out of this one.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from ..processes import WEIGHTLESS

OPTIONS = '[segment.options]\nnormalizer = "none"\n'
BYTES_PER_MB = 1_000_000


def repeated(source: Path, rows: int, target: Path) -> None:
    """So many rows, all different."""
    lines = source.read_text(encoding="utf-8").splitlines()
    with target.open("w", encoding="utf-8") as file:
        for index, line in enumerate(islice(cycle(lines), rows)):
            row = json.loads(line)
            row["id"] = f"row-{index}"
            row["prompt"] = f"{row['prompt']} ({index})"
            file.write(json.dumps(row) + "\n")


def measured(command: list[str]) -> tuple[float, float]:
    """Seconds, and peak resident memory in MB, of a process."""
    began_s = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**WEIGHTLESS, **os.environ}
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(process.stderr.read().decode())
    return time.monotonic() - began_s, _peak_mb(usage)


def _peak_mb(usage: resource.struct_rusage) -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit / BYTES_PER_MB


def main() -> None:
    """Measure every size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rollouts", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2640, 264_000])
    parser.add_argument("--with", dest="with_", default="token,segment")
    parser.add_argument("--suffix", default="jsonl", choices=("jsonl", "parquet"))
    parser.add_argument("--url")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = folder / "options.toml"
        options.write_text(OPTIONS if "segment" in said.with_ else "")
        for rows in said.sizes:
            source, out = folder / f"in-{rows}.jsonl", folder / f"out-{rows}.{said.suffix}"
            repeated(said.rollouts, rows, source)
            command = [
                sys.executable,
                "-m",
                "assayd",
                "annotate",
                str(source),
                str(out),
                "--with",
                said.with_,
            ]
            command += ["--task", "math-steps", "--options", str(options)]
            command += ["--url", said.url] if said.url else []
            first_s, first_mb = measured(command)
            again_s, again_mb = measured(command)
            size_mb = out.stat().st_size / BYTES_PER_MB
            journal_mb = (out.with_name(f"{out.name}.assay") / "journal").stat().st_size / BYTES_PER_MB
            print(
                f"{rows:,} rows: {first_s:.1f} s, {rows / first_s:,.0f} rows/s, peak {first_mb:.0f} MB; "
                f"written again from the journal: {again_s:.1f} s, peak {again_mb:.0f} MB; "
                f"output {size_mb:,.1f} MB, journal {journal_mb:,.1f} MB",
                flush=True,
            )
            for path in (source, out):
                path.unlink()


if __name__ == "__main__":
    main()
