"""Dense rewards in ms-swift: copy this file, change what stands between the lines, and train.

    ASSAY_URL=http://assay:8000 swift rlhf --rlhf_type grpo --model Qwen/Qwen3-0.6B --dataset problems.jsonl \
        --external_plugins examples/trainers/swift_plugin.py --reward_funcs right math_steps
"""

from typing import Any

from swift.rewards import orms
from swift.rewards.orm import ORM

from assay.dense import Shaping
from assay.policy import FailurePolicy
from assay.swift import register
from assay.token_rewards import TokenRewards


class Right(ORM):  # type: ignore[misc]
    """What a whole completion is worth: one number."""

    def __call__(self, completions: list[str], solution: list[str], **columns: Any) -> list[float]:
        """``solution`` is a column of the data set."""
        return [float(right in said) for said, right in zip(completions, solution, strict=True)]


orms["right"] = Right

# --------------------------------------------------------------------------------------------------------------------
register(
    "math_steps",
    TokenRewards(task="math-steps"),  # or route="segment", method="grm", options={...}
    shaping=Shaping(weight=0.5, baseline="group", gamma=None),  # None: its sum is an ordinary reward
    policy=FailurePolicy("skip", timeout_s=30),  # or "scalar", "raise"
    columns={},  # {"reference": "solution"}: fields of a rollout, and the columns that they come from
)
# --------------------------------------------------------------------------------------------------------------------
