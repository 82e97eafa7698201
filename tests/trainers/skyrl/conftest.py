"""SkyRL's own generator, post-processing and estimators, with a scripted engine for its GPU: ``make test-skyrl``."""

import random
import typing
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest
import typing_extensions

from assay.testing import FakeServer

collect_ignore_glob = [] if find_spec("skyrl") else ["test_*.py"]
if find_spec("skyrl"):
    # On Python 3.11 pydantic takes no other, and SkyRL declares requests by that of `typing`.
    typing.TypedDict = typing_extensions.TypedDict  # type: ignore[assignment]


@pytest.fixture
def service() -> Iterator[FakeServer]:
    """A service that answers by the test's rules."""
    with FakeServer() as server:
        yield server


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A word-level tokenizer with a chat template."""
    from ..words import word_tokenizer

    return word_tokenizer("{% for m in messages %}{{ m['content'] }} <end> {% endfor %}")


class ScriptedEngine:
    """Stands for vLLM: ids that only the session decides, of different lengths, each ended by the end marker."""

    async def generate(self, engine_input: Any, model: Any = None) -> dict[str, Any]:
        """One response."""
        chance = random.Random(engine_input["session_ids"][0])
        ids = [*(chance.randrange(3, 100) for _ in range(chance.randrange(2, 7))), 0]
        return {
            "responses": [f"r{sum(ids)}"],
            "response_ids": [ids],
            "stop_reasons": ["stop"],
            "response_logprobs": None,
        }

    async def finish_session(self, session_id: str) -> None:
        """Nothing to finish."""


@pytest.fixture
def run(tokenizer: Any) -> Callable[..., Any]:
    """A batch of two prompts with two responses each, from the generator to the advantages."""
    import skyrl_gym
    from skyrl.train.config import SkyRLTrainConfig
    from skyrl.train.generators.base import BatchMetadata, TrajectoryID
    from skyrl_gym.envs.base_text_env import BaseTextEnv

    from assay.skyrl import DenseGenerator, DenseTrainer

    class Paying(BaseTextEnv):  # type: ignore[misc]
        """Pays what the response's text says."""

        def __init__(self, **named: Any) -> None:
            super().__init__()

        def step(self, action: str) -> Any:
            paid = (int(action[1:]) % 10) / 10
            return {"observations": [], "reward": paid, "done": True, "metadata": {}}

    if "scripted" not in skyrl_gym.envs.registration.registry:
        skyrl_gym.register(id="scripted", entry_point=Paying)

    async def go(estimator: str = "grpo", phase: str = "train", **settings: Any) -> Any:
        cfg = SkyRLTrainConfig()
        cfg.trainer.algorithm.advantage_estimator = estimator
        cfg.generator.batched = False
        cfg.generator.inference_engine.enable_ray_prometheus_stats = False
        cfg.trainer.enable_ray_gpu_monitor = False
        cfg.generator.n_samples_per_prompt = 2
        cfg.trainer.train_batch_size = cfg.trainer.policy_mini_batch_size = 2
        generator = DenseGenerator(
            generator_cfg=cfg.generator,
            skyrl_gym_cfg=cfg.environment.skyrl_gym,
            inference_engine_client=ScriptedEngine(),
            tokenizer=tokenizer,
            **settings,
        )
        ids = [TrajectoryID(f"p{row // 2}", row % 2) for row in range(4)]
        output = await generator.generate(
            {
                "prompts": [[{"role": "user", "content": "w1 w2 " * (1 + row // 2)}] for row in range(4)],
                "env_classes": ["scripted"] * 4,
                "env_extras": [{"answer": str(row)} for row in range(4)],
                "sampling_params": None,
                "trajectory_ids": ids,
                "batch_metadata": BatchMetadata(global_step=7, training_phase=phase),
            },
            disable_tqdm=True,
        )
        if phase == "eval":
            return output
        trainer = DenseTrainer(cfg, None, tokenizer, None, None, generator)
        trainer.dispatch = SimpleNamespace(get_lcm_dp_size=lambda: 1)
        processed, uids = trainer.postprocess_generator_output(output, [one.instance_id for one in ids])
        data = trainer.convert_to_training_input(processed, uids)
        data["values"] = None
        data.metadata["avg_response_length"] = 1.0
        return output, trainer.compute_advantages_and_returns(data)

    return go
