"""The service stops, stalls, slows down and comes back in the middle of a training."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from transformers import TrainerCallback

from assay.dense import Shaping
from assay.trl import AssayReward, DenseGRPOTrainer

DEADLINE_S = 6.0
SLACK_S = 1.0
SLOW_S = 1.5


class Service:
    """``assayd serve`` as a process of its own, on a port that stays the same."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Come up, and wait until it is ready."""
        command = [sys.executable, "-m", "assayd", "serve", "--port", str(self.port)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        give_up_at = time.monotonic() + 120
        while True:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).is_success:
                    return
            except httpx.TransportError:
                assert time.monotonic() < give_up_at
                time.sleep(0.1)

    def kill(self) -> None:
        """Be gone."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Take connections and say nothing."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on."""
        os.kill(self.process.pid, signal.SIGCONT)

    def slow(self) -> None:
        """Say nothing for a while."""
        self.freeze()
        threading.Timer(SLOW_S, self.thaw).start()


@pytest.fixture
def own_service() -> Iterator[Service]:
    """A service that may be killed."""
    service = Service()
    yield service
    service.kill()


class Fate(TrainerCallback):
    """Does something to the service before each step."""

    def __init__(self, deeds: list[Any]) -> None:
        self.deeds = deeds

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The step's deed."""
        for deed in self.deeds[state.global_step]:
            deed()


def test_training_goes_on_through_outages(
    own_service: Service, named_tokenizer: Any, policy: Any, tokenizer: Any, problems: Any, arguments: Any
) -> None:
    """Steps without an answer are masked and reported, none takes longer than the deadline, all others learn."""
    service = own_service
    deeds = [[], [service.slow], [service.freeze], [service.thaw], [service.kill], [service.start], []]
    reward = AssayReward(service.url, route="segment", tokenizer=named_tokenizer, deadline_s=DEADLINE_S)
    trainer = DenseGRPOTrainer(
        policy,
        args=arguments(max_steps=len(deeds)),
        train_dataset=problems,
        processing_class=tokenizer,
        dense=[(reward, Shaping(baseline="group"))],
        callbacks=[Fate(deeds)],
    )
    trainer.train()
    steps = [entry for entry in trainer.state.log_history if "assay/segment/failed" in entry]
    assert [step["assay/segment/failed"] for step in steps] == [0, 0, 1, 0, 1, 0, 0]
    assert [step["grad_norm"] > 0 for step in steps] == [True, True, False, True, False, True, True]
    seconds = [step["assay/segment/call_s"] for step in steps]
    assert max(seconds) < DEADLINE_S + SLACK_S
    assert seconds[2] > DEADLINE_S - SLACK_S > seconds[4]
    assert seconds[1] > SLOW_S - SLACK_S
