"""Dense rewards in AReaL: copy this file, change what stands between the lines, and start it like AReaL's own.

ASSAY_URL=http://assay:8000 python examples/trainers/areal_train.py --config gsm8k_grpo.yaml
"""

import sys
from typing import Any

from areal import PPOTrainer
from areal.api.cli_args import GRPOConfig, load_expr_config
from areal.dataset import get_custom_dataset
from areal.utils.hf_utils import load_hf_tokenizer

from assay.areal import check
from assay.dense import Shaping
from assay.policy import FailurePolicy
from assay.token_rewards import TokenRewards


def right(
    prompt: str, completions: str, prompt_ids: Any, completion_ids: Any, answer: str, **_: Any
) -> float:
    """What a whole completion is worth: one number. ``answer`` is a column of the data set."""
    return float(answer in completions)


def main(arguments: list[str]) -> None:
    """AReaL's training with the dense workflow."""
    config, _ = load_expr_config(arguments, GRPOConfig)
    check(config)
    tokenizer = load_hf_tokenizer(config.tokenizer_path)
    data = get_custom_dataset(split="train", dataset_config=config.train_dataset, tokenizer=tokenizer)
    with PPOTrainer(config, train_dataset=data) as trainer:
        trainer.train(
            workflow="assay.areal.DenseRLVRWorkflow",
            workflow_kwargs={
                "reward_fn": f"{__name__}.right",
                "gconfig": config.gconfig,
                "tokenizer": config.tokenizer_path,
                # ----------------------------------------------------------------------------------------------------
                "rewards": TokenRewards(task="math-steps"),  # or route="segment", method="grm", options={...}
                "shaping": Shaping(weight=0.5, baseline="none", gamma=None),
                "policy": FailurePolicy("skip", timeout_s=30),  # or "scalar"
                "columns": {},  # {"reference": "answer"}: fields of a rollout, and where they come from
                # ----------------------------------------------------------------------------------------------------
            },
        )


if __name__ == "__main__":
    main(sys.argv[1:])
