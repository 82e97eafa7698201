"""LoRA adapters by task over HTTP: each task is judged by the model that the settings name for it."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final

import pytest

from assayd.settings import EngineName, Settings

from .services import hosted, running

ADAPTED: Final = "relc-toxicity"
OTHER: Final = "relc-sentiment"
FAKE: Final = {"engine": EngineName.FAKE}


def settings_of(critic: dict[str, Any]) -> Settings:
    """A service in which nothing but the critic is a model."""
    return Settings(critic=critic, rewriter=FAKE, segment=FAKE, sequence=FAKE)


def body(task: str) -> dict[str, Any]:
    """What random weights answer with noise, which comes back as the critique that could not be read."""
    texts = ("the film was not good", "naïve café ☕", "1 + 2 = 3")
    return {"task": task, "rollouts": [{"prompt": "Write.", "completion": {"text": text}} for text in texts]}


def critiques(answer: dict[str, Any]) -> list[str]:
    """What the critic said of each rollout, whether or not it could be read."""
    return [
        result["critique"] if result["status"] == "ok" else result["failure"]["critique"]
        for result in answer["results"]
    ]


@pytest.fixture(scope="module")
def services(serve_app: Callable[..., Any], low_rank: dict[str, str]) -> Any:
    """VLLM with an adapter for one task, and on transformers the model as it is and with the adapter merged."""
    critics = {
        "vllm": hosted(low_rank["base"], adapters={ADAPTED: low_rank["adapter"]}),
        "base": hosted(low_rank["base"], EngineName.TRANSFORMERS),
        "merged": hosted(low_rank["merged"], EngineName.TRANSFORMERS),
    }
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(running(serve_app, settings_of(critic)))
            for name, critic in critics.items()
        }


def test_each_task_is_judged_by_its_model(services: Any, low_rank: dict[str, str]) -> None:
    """The task with the adapter as by merged weights, another as by the model; the recipe says by which."""
    adapted, plain = (services["vllm"].post("/score/token", body(task)) for task in (ADAPTED, OTHER))
    assert critiques(adapted) == critiques(services["merged"].post("/score/token", body(ADAPTED)))
    assert critiques(plain) == critiques(services["base"].post("/score/token", body(OTHER)))
    assert critiques(adapted) != critiques(services["base"].post("/score/token", body(ADAPTED)))
    assert low_rank["adapter"] in adapted["recipe"]["model"]["name"]
    assert low_rank["adapter"] not in plain["recipe"]["model"]["name"]
