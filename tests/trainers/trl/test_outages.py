"""The service stops, stalls, slows down and comes back in the middle of a training."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from assay.dense import Shaping
from assay.trl import AssayReward, DenseGRPOTrainer

from ...processes import Process, assayd

DEADLINE_S = 6.0
SLACK_S = 1.0
SLOW_S = 1.5


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Process]:
    """A service that may be killed."""
    with assayd(tmp_path / "log") as one:
        yield one
        one.kill()


def slow(service: Process) -> None:
    """It says nothing for a while."""
    service.freeze()
    threading.Timer(SLOW_S, service.thaw).start()


class Fate(TrainerCallback):
    """Does something to the service before each step."""

    def __init__(self, deeds: list[Any]) -> None:
        self.deeds = deeds

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The step's deed."""
        for deed in self.deeds[state.global_step]:
            deed()


def test_training_goes_on_through_outages(
    service: Process, named_tokenizer: Any, policy: Any, tokenizer: Any, problems: Any, arguments: Any
) -> None:
    """Steps without an answer are masked and reported, none takes longer than the deadline, all others learn."""
    slowed = partial(slow, service)
    deeds = [[], [slowed], [service.freeze], [service.thaw], [service.kill], [service.start], []]
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
