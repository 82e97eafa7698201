"""Facts about the command line, run as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from assay.testing import FakeServer


def assay(*arguments: str, stdin: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run ``assay`` with these arguments."""
    return subprocess.run(
        [sys.executable, "-m", "assay", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=60,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two rollouts, one of them written short."""
    path = tmp_path / "rollouts.jsonl"
    lines: list[dict[str, Any]] = [
        {"id": "a", "prompt": "p", "completion": {"text": "you rat"}},
        {"prompt": "p", "completion": "three words here"},
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n", encoding="utf-8")
    return path


def test_a_file_is_scored_line_by_line(server: FakeServer, file: Path) -> None:
    """One JSON line per rollout, in order, in the service's shapes."""
    done = assay("score", str(file), "--task", "relc-toxicity", ASSAY_URL=server.url)
    assert (done.returncode, done.stderr) == (0, "")
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["id"], one["rewards"]) for one in results] == [("a", [0.25] * 2), ("1", [0.25] * 3)]


@pytest.mark.parametrize("method", ["grm", "segment", "implicit_prm", "sequence"])
def test_every_method_has_its_route(server: FakeServer, file: Path, method: str) -> None:
    """Options, tokenizer and URL go along."""
    done = assay(
        "score", str(file), "--method", method, "--url", server.url,
        "--options", '{"clamp": 1}', "--tokenizer", "org/name@abc",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (received,) = server.received
    assert received.path == {"grm": "/score/token", "sequence": "/score/sequence"}.get(
        method, "/score/segment"
    )
    assert received.body["options"] == {"clamp": 1}
    assert received.body["tokenizer"] == {"name": "org/name", "revision": "abc"}
    assert received.body.get("method") == (None if method == "sequence" else method)


def test_failures_are_printed_and_make_the_exit_status(server: FakeServer, file: Path) -> None:
    """What was judged is there, what was not says why, and a script notices."""
    server.fail("a", "unparseable")
    done = assay(
        "score", "-", "--task", "remarks", "--url", server.url, stdin=file.read_text(encoding="utf-8")
    )
    assert done.returncode == 1
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["failed", "ok"]
    assert "1 of 2 rollouts were not judged" in done.stderr


def test_what_cannot_be_done_is_said_in_a_line(server: FakeServer, file: Path) -> None:
    """No trace of Python: what is wrong, and status 2 for the user's own mistakes."""
    broken = file.with_name("broken.jsonl")
    broken.write_text('{"id": 1\n', encoding="utf-8")
    for arguments, told, status in (
        (["score", str(file)], "needs --task", 2),
        (["score", "missing.jsonl", "--task", "remarks"], "missing.jsonl", 2),
        (["score", str(broken), "--task", "remarks"], "line 1 is not JSON", 2),
        (["score", str(file), "--task", "poetry"], "task: one of", 1),
        (["score", str(file), "--task", "remarks", "--url", "http://127.0.0.1:9"], "no answer from", 1),
    ):
        done = assay(*arguments, ASSAY_URL=server.url)
        assert (done.returncode, done.stdout) == (status, "")
        assert told in done.stderr
        assert "Traceback" not in done.stderr


def test_a_check_says_what_is_there(server: FakeServer) -> None:
    """Ready: version and models, status 0. Not ready, not there, not Assay: what to do, status 1."""
    done = assay("check", server.url)
    assert done.returncode == 0
    assert done.stdout == f"{server.url} is ready: assayd fake\n  critic: assay/fake (fake)\n"
    server.ready = False
    done = assay("check", ASSAY_URL=server.url)
    assert done.returncode == 1
    assert "Not ready: fake." in done.stdout
    done = assay("check", "http://127.0.0.1:9")
    assert (done.returncode, "assayd serve" in done.stdout) == (1, True)
    done = assay("check", f"{server.url}/elsewhere")
    assert (done.returncode, "Is the port right?" in done.stdout) == (1, True)
    assert assay("check", "nonsense").returncode == 2


def test_a_check_without_the_right_key_says_so(server: FakeServer) -> None:
    """A service that wants a key is of no use without it, however ready it is."""
    server.api_key = "assay_right"
    for key, told in (("", "wants a key"), ("assay_wrong", "does not take this key")):
        done = assay("check", server.url, ASSAY_API_KEY=key)
        assert done.returncode == 1
        assert told in done.stdout
        assert "ASSAY_API_KEY" in done.stdout
    assert assay("check", server.url, ASSAY_API_KEY="assay_right").returncode == 0
