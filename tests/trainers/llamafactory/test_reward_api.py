"""LLaMA-Factory's own ``get_rewards_from_server`` asks ``/v1/score/evaluation``."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

CHAT = "<|im_start|>user\nAre you a zebra?<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>"


@pytest.fixture(scope="module")
def get_rewards_from_server() -> Any:
    """The function from its own file, past packages whose import needs a TRL of two years ago."""
    (folder,) = importlib.util.find_spec("llamafactory").submodule_search_locations
    for name in ("llamafactory.train", "llamafactory.train.ppo"):
        package = ModuleType(name)
        package.__path__ = [str(Path(folder, *name.split(".")[1:]))]
        sys.modules.setdefault(name, package)
    return importlib.import_module("llamafactory.train.ppo.ppo_utils").get_rewards_from_server


def test_the_rewards_arrive(foreign: Callable[..., str], get_rewards_from_server: Any) -> None:
    """A mini-batch of whole conversations becomes one tensor of rewards, in order."""
    url = foreign(aggregation="min") + "/v1/score/evaluation"
    rewards = get_rewards_from_server(url, [CHAT.format("No, you zebra."), CHAT.format("A horse.")])
    assert torch.equal(rewards, torch.tensor([-0.5, 0.0]))


@pytest.mark.parametrize("on_failure", ["error", "null"])
def test_a_failure_stops_it(
    foreign: Callable[..., str], get_rewards_from_server: Any, on_failure: str
) -> None:
    """It looks at no status, but finds no scores: nothing is trained on a number that nobody gave."""
    url = foreign(aggregation="min", on_failure=on_failure) + "/v1/score/evaluation"
    with pytest.raises(KeyError, match="scores"):
        get_rewards_from_server(url, [CHAT.format("A horse."), CHAT.format("unspeakable")])
