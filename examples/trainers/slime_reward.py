"""Dense rewards in slime: copy this file and slime_train.sh, and change what stands between the lines.

It has to be importable where slime's processes run (PYTHONPATH); where the service is, ASSAY_URL says.
"""

from typing import Any

from assay.dense import Shaping
from assay.policy import FailurePolicy
from assay.slime import Plugin
from assay.token_rewards import TokenRewards

# ----------------------------------------------------------------------------------------------------------------


def outcome(sample: Any) -> float:
    """What a whole response is worth; it may be asynchronous, and any of slime's own functions."""
    return float(str(sample.label) in sample.response)


plugin = Plugin(
    TokenRewards(task="math-steps"),  # or route="segment", method="grm" with reference=True, options={...}
    tokenizer="Qwen/Qwen3-4B",  # --hf-checkpoint
    outcome=outcome,
    shaping=Shaping(weight=0.5, baseline="group", gamma=None),
    policy=FailurePolicy("skip", timeout_s=30),  # or "scalar", "raise"
)
# ----------------------------------------------------------------------------------------------------------------

reward, post_process, advantages = plugin.reward, plugin.post_process, plugin.advantages
