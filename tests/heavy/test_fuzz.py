"""The fuzzer itself, for a moment: what it does for hours holds for a few cases of each kind too."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_few_cases_of_each_kind_break_nothing(tmp_path: Path) -> None:
    """Schemathesis on the routes with a body of their own, hostile bodies, connections that break off."""
    few = ["--cases", "4", "--bodies", "150", "--wires", "10", "--seed", "1", "--keep", str(tmp_path)]
    command = [sys.executable, "-W", "ignore", "-m", "tests.heavy.fuzz", *few]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "kept" in run.stdout
