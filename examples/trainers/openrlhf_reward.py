"""Dense rewards in OpenRLHF: copy this file and openrlhf_train.py, and change what stands between the lines.

It has to be importable where Ray's processes run (PYTHONPATH); where the service is, ASSAY_URL says.
"""

from typing import Any

from assay import openrlhf
from assay.dense import Shaping
from assay.policy import FailurePolicy
from assay.token_rewards import TokenRewards


class AgentExecutor(openrlhf.DenseAgentExecutor):
    """What is asked for, and what becomes of it. OpenRLHF looks for this name."""

    # ------------------------------------------------------------------------------------------------------------
    rewards = TokenRewards(task="math-steps")  # or route="segment", method="grm", options={...}
    policy = FailurePolicy("skip", timeout_s=30)  # or "scalar", "raise"
    shaping = Shaping(weight=0.5, baseline="group", gamma=None)
    reference = False  # True: the label is sent as the reference solution

    async def outcome(self, prompt: str, response: str, label: Any) -> float:
        """What a whole response is worth: one number."""
        return float(str(label) in response)

    # ------------------------------------------------------------------------------------------------------------


def install() -> None:
    """Ray calls it in each of its processes, see openrlhf_train.py."""
    openrlhf.install(AgentExecutor)
