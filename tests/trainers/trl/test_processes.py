"""Two processes train together; groups lie on both, and one of them may lose its service."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from assay.dense import Shaping, dense_advantages

from ...processes import free_port

NOBODY = "http://127.0.0.1:9"


def run(urls: tuple[str, str], on_failure: str, out: Path) -> list[dict[str, Any]]:
    """What each process came to; a hang is a failure."""
    script = str(Path(__file__).with_name("two_processes.py"))
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    command = [sys.executable, script, *urls, on_failure, str(out)]
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **together, "RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.DEVNULL,
        )
        for rank in "01"
    ]
    try:
        assert [process.wait(timeout=240) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    return [json.loads((out / f"{rank}.json").read_text()) for rank in (0, 1)]


def advantages(rows: list[Any], rewards: list[Any]) -> list[list[float]]:
    """What the formula says of the one group."""
    ids = [row[0] for row in rows]
    outcomes = [float(one[0] % 2) for one in ids]
    masks = [[1] * len(one) for one in ids]
    return dense_advantages(outcomes, rewards, masks, [0] * 4, shaping=Shaping(baseline="position"))


def test_a_group_on_two_processes_is_one_group(planted_url: str, planter: Any, tmp_path: Path) -> None:
    """Baselines are those of all four completions, on either process."""
    processes = run((planted_url, planted_url), "skip", tmp_path)
    rows = [row for process in processes for row in process["rows"]]
    assert len(rows) == 4
    expected = advantages(rows, [planter.rewards(ids) for ids, _ in rows])
    assert [row[1] for row in rows] == [pytest.approx(row, abs=1e-5) for row in expected]


def test_a_process_without_service_neither_hangs_nor_moves_the_others(
    planted_url: str, planter: Any, tmp_path: Path
) -> None:
    """Its completions are masked; the group of the other's is what is left."""
    one, other = run((planted_url, NOBODY), "skip", tmp_path)
    assert (one["ended"], other["ended"]) == ("trained", "trained")
    assert one["failed"] == other["failed"] == 0.5
    rows = [*one["rows"], *other["rows"]]
    expected = advantages(rows, [*[planter.rewards(row[0]) for row in one["rows"]], None, None])
    assert [row[1] for row in rows] == [pytest.approx(row, abs=1e-5) for row in expected]


def test_with_raise_both_end(planted_url: str, tmp_path: Path) -> None:
    """The one whose service answered is told, instead of waiting for ever."""
    one, other = run((planted_url, NOBODY), "raise", tmp_path)
    assert (one["ended"], other["ended"]) == ("RuntimeError", "RolloutFailed")
