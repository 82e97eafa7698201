"""OpenRLHF's own training, with Ray started so that its processes make dense advantages.

    PYTHONPATH=examples/trainers ASSAY_URL=http://assay:8000 python examples/trainers/openrlhf_train.py \
        --train.agent_func_path examples/trainers/openrlhf_reward.py --algo.advantage.estimator group_norm ...
"""

import os
import runpy

import ray

SEEN_BY_ALL = ("PYTHONPATH", "ASSAY_URL", "ASSAY_API_KEY")


def start() -> None:
    """Start Ray, or join the cluster that RAY_ADDRESS names."""
    own = {name: os.environ[name] for name in SEEN_BY_ALL if name in os.environ}
    ray.init(
        runtime_env={
            "worker_process_setup_hook": "openrlhf_reward.install",
            "env_vars": {"TOKENIZERS_PARALLELISM": "true", "NCCL_DEBUG": "WARN", **own},
        }
    )


if __name__ == "__main__":
    start()
    runpy.run_module("openrlhf.cli.train_ppo_ray", run_name="__main__")
