"""Real processes, killed without warning while they work."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from assayd.offline.journal import read_entries

from ..processes import assayd

ROWS = 240


@pytest.fixture
def data(tmp_path: Path, lines: Any) -> Path:
    """Enough rows for a run that takes a while."""
    path: Path = lines.write(tmp_path / "in.jsonl", lines.make(ROWS))
    return path


@pytest.fixture
def slow_url(stub: Any, stub_url: str) -> str:
    """A service that takes its time, so that a run can be hit anywhere."""
    stub.delay_s = 0.02
    return stub_url


def started(*arguments: object) -> subprocess.Popen[bytes]:
    """``assayd annotate`` in a process of its own."""
    command = [sys.executable, "-m", "assayd", "annotate", *map(str, arguments), "--task", "math-steps"]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A shell's background jobs ignore it, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finished(*arguments: object) -> str:
    """What it told when it had gone through."""
    process = started(*arguments)
    told = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 0, told
    return told


def journalled(journal: Path) -> int:
    """Rows that are safe."""
    return sum(1 for _ in read_entries(journal))


def killed(process: subprocess.Popen[bytes], when: Callable[[], bool]) -> bool:
    """Kill it as soon as ``when`` says; False where it had ended before."""
    try:
        while process.poll() is None:
            if when():
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                return True
            time.sleep(0.002)
        return False
    finally:
        process.stdout.close()  # type: ignore[union-attr]


def test_a_run_that_is_killed_again_and_again_ends_as_if_nothing_had_happened(
    stub: Any, slow_url: str, data: Path, tmp_path: Path, lines: Any
) -> None:
    """Between rows, within a row, and while the output is written: no row lost, doubled or half written."""
    calm, out = tmp_path / "calm.jsonl", tmp_path / "out.jsonl"
    arguments = ("--with", "token,sequence", "--url", slow_url, "--batch", 5)
    finished(data, calm, *arguments)
    stub.calls.clear()
    journal = out.with_name("out.jsonl.assay") / "journal"
    chance = random.Random(7)
    safe = 0
    for _ in range(3):
        goal = safe + chance.randint(1, ROWS // 4)
        assert killed(started(data, out, *arguments), lambda goal=goal: journalled(journal) >= goal)  # type: ignore[misc]
        assert not out.exists()
        assert journalled(journal) >= max(goal, safe)
        safe = journalled(journal)
    partial = out.with_name(".out.jsonl.partial")
    assert killed(started(data, out, *arguments), partial.exists)
    finished(data, out, *arguments)
    assert out.read_bytes() == calm.read_bytes()
    assert [row["id"] for row in lines.read(out)] == [f"r{index}" for index in range(ROWS)]
    asked = sum(len(call["rollouts"]) for call in stub.calls if call["path"] == "/score/token")
    in_flight = 4 * 5
    assert asked <= ROWS + 4 * in_flight
    assert not partial.exists()


def test_a_killed_retry_goes_on(stub: Any, slow_url: str, data: Path, tmp_path: Path, lines: Any) -> None:
    """Until it is done, the former rows stay where they are."""
    out = tmp_path / "out.parquet"
    arguments = ("--with", "token", "--url", slow_url, "--batch", 5, "--in-flight", 2)
    texts = [row["completion"]["text"] for row in lines.make(ROWS)]
    stub.failing = set(texts[::2])
    finished(data, out, *arguments)
    before = out.read_bytes()
    stub.failing = set()
    retry = out.with_name("out.parquet.assay") / "journal.retry"
    assert killed(started(data, out, *arguments, "--retry-failed"), lambda: journalled(retry) >= ROWS // 3)
    assert out.read_bytes() == before
    finished(data, out, *arguments)
    results = pq.read_table(out).column("assay_token").to_pylist()
    assert [result["status"] for result in results] == ["ok"] * ROWS
    assert [result["key"] for result in results] == [f"key of {text}" for text in texts]


def test_a_service_that_is_killed_is_waited_for(data: Path, tmp_path: Path, lines: Any) -> None:
    """The run is told nothing of it but that nobody answers; no row fails."""
    out = tmp_path / "out.jsonl"
    journal = out.with_name("out.jsonl.assay") / "journal"
    how = ("--with", "token,rewrite", "--batch", 1, "--in-flight", 1)
    with assayd(tmp_path / "log", weightless=True) as service:
        process = started(data, out, "--url", service.url, *how)
        while journalled(journal) < ROWS // 8:
            assert process.poll() is None
            time.sleep(0.005)
        service.kill()
        service.start()
        told = process.communicate(timeout=120)[0].decode()
        service.kill()
    assert process.returncode == 0, told
    assert [row["assay_token"]["status"] for row in lines.read(out)] == ["ok"] * ROWS
    assert f"{ROWS} judged, 0 failed" in told


def test_two_runs_never_write_one_file(slow_url: str, data: Path, tmp_path: Path) -> None:
    """The second one says so and touches nothing."""
    out = tmp_path / "out.jsonl"
    arguments = (data, out, "--with", "token", "--url", slow_url, "--batch", 1)
    first = started(*arguments)
    journal = out.with_name("out.jsonl.assay") / "journal"
    while journalled(journal) < 1:
        assert first.poll() is None
        time.sleep(0.005)
    first.send_signal(signal.SIGSTOP)  # it would be done before a slow machine had started the second
    second = started(*arguments)
    told = second.communicate(timeout=60)[0].decode()
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=120)
    assert (second.returncode, first.returncode) == (1, 0)
    assert "another process" in told


def test_interrupting_a_run_says_how_to_go_on(stub: Any, slow_url: str, data: Path, tmp_path: Path) -> None:
    """As from the keyboard."""
    out = tmp_path / "out.jsonl"
    process = started(data, out, "--with", "token", "--url", slow_url, "--batch", 1)
    journal = out.with_name("out.jsonl.assay") / "journal"
    while journalled(journal) < 3:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=30)[0].decode()
    assert process.returncode == 130, told
    assert "run it again to go on" in told
    assert "Traceback" not in told
