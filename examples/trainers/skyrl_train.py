"""Dense rewards in SkyRL: copy this file, change what stands between the lines, and start it like SkyRL's own.

ASSAY_URL=http://assay:8000 python examples/trainers/skyrl_train.py trainer.algorithm.advantage_estimator=grpo ...
"""

import sys
from typing import Any

import ray
from skyrl.train.config import SkyRLTrainConfig
from skyrl.train.entrypoints.main_base import BasePPOExp
from skyrl.train.utils import initialize_ray, validate_cfg

from assay.dense import Shaping
from assay.policy import FailurePolicy
from assay.skyrl import DenseGenerator, DenseTrainer
from assay.token_rewards import TokenRewards


class DenseExperiment(BasePPOExp):  # type: ignore[misc]
    """SkyRL's experiment with a dense generator and trainer."""

    def get_generator(self, cfg: Any, tokenizer: Any, inference_engine_client: Any) -> Any:
        """Who writes the responses and has them judged."""
        return DenseGenerator(
            generator_cfg=cfg.generator,
            skyrl_gym_cfg=cfg.environment.skyrl_gym,
            inference_engine_client=inference_engine_client,
            tokenizer=tokenizer,
            # --------------------------------------------------------------------------------------------------------
            rewards=TokenRewards(task="math-steps"),  # or route="segment", method="grm", options={...}
            shaping=Shaping(weight=0.5, baseline="group", gamma=None),
            policy=FailurePolicy("skip", timeout_s=30),  # or "scalar", "raise"
            fields=lambda env_extras: {},  # {"reference": env_extras["reward_spec"]["ground_truth"]}
            # --------------------------------------------------------------------------------------------------------
        )

    def get_trainer(self, *arguments: Any, **named: Any) -> Any:
        """Who makes advantages of it."""
        return DenseTrainer(*arguments, **named)


@ray.remote(num_cpus=1)
def train(cfg: Any) -> None:
    """In a process of Ray's, as SkyRL's own."""
    DenseExperiment(cfg).run()


if __name__ == "__main__":
    configuration = SkyRLTrainConfig.from_cli_overrides(sys.argv[1:])
    validate_cfg(configuration)
    initialize_ray(configuration)
    ray.get(train.remote(configuration))
