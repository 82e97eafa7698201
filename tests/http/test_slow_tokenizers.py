"""A tokenizer that takes for ever to load keeps nobody waiting who does not need it, nor anybody beyond a deadline."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

LATE_S = 5.0
# What two shared cores may add.
GRACE_S = 5.0
MANY = 24


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[list[str]]:
    """Folders whose tokenizer never comes, as on a share that hangs; when the test is over they are empty."""
    folders = [tmp_path / str(number) for number in range(MANY)]
    for folder in folders:
        folder.mkdir()
        os.mkfifo(folder / "tokenizer.json")
    yield [str(folder) for folder in folders]
    for folder in folders:
        pipe = folder / "tokenizer.json"
        held = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        pipe.unlink()
        # Whoever waits at the other end finds it empty, and so does whoever comes now.
        pipe.touch()
        os.close(held)


def asked(client: httpx.Client, timeout_s: float, **named: Any) -> httpx.Response:
    """A rollout that is scored within a time."""
    rollout = {"prompt": "p", "completion": {"text": "you rat"}}
    return client.post(
        "/score/token",
        json={"task": "relc-toxicity", "rollouts": [rollout], "timeout_s": timeout_s, **named},
    )


def test_a_tokenizer_that_hangs_hangs_nobody(service: httpx.Client, stuck: list[str]) -> None:
    """Who named it is told at the deadline, and calls that name none are answered meanwhile, however many wait."""
    with ThreadPoolExecutor(MANY) as pool:
        began = time.monotonic()
        late = [pool.submit(asked, service, LATE_S, tokenizer={"name": name}) for name in stuck]
        time.sleep(0.5)
        assert asked(service, LATE_S).json()["results"][0]["status"] == "ok"
        refused = [call.result() for call in late]
        assert time.monotonic() - began < LATE_S + GRACE_S
    assert {answer.status_code for answer in refused} == {504}
    assert {answer.json()["kind"] for answer in refused} == {"past_deadline"}
