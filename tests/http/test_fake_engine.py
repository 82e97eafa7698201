"""The fake engine through the front door: every task is answered, the same way each time."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import httpx
import pytest

from assayd.app import create_app
from assayd.settings import EngineName, EngineSettings, Settings

TASKS = ("relc-toxicity", "relc-sentiment", "relc-summarization", "remarks", "math-steps")


@pytest.mark.parametrize("task", TASKS)
def test_every_task_finds_nothing(
    serve_app: Callable[[object], AbstractContextManager[str]], task: str
) -> None:
    """A critic that likes everything: status ok, no spans, one reward a token."""
    rollout = {
        "prompt": "Add 1 and 1.",
        "completion": {"text": "1 + 1 = 2\nA: 2", "offsets": [[0, 9], [9, 14]]},
    }
    options = {"rubric": "Find slips."} if task == "remarks" else {}
    fake = EngineSettings(engine=EngineName.FAKE)
    settings = Settings(critic=fake, rewriter=fake.model_dump())
    with serve_app(create_app(settings)) as url:
        body = {"task": task, "rollouts": [rollout], "options": options}
        (result,) = httpx.post(f"{url}/score/token", json=body).json()["results"]
    assert result["status"] == "ok", result
    assert (len(result["rewards"]), result["spans"]) == (2, [])
