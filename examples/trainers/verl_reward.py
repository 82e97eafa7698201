"""Dense rewards in veRL: copy this file and verl_train.sh, and change what stands between the lines.

All processes of the training import it (VERL_USE_EXTERNAL_MODULES); where the service is, ASSAY_URL says.
"""

from assay.dense import Shaping
from assay.policy import FailurePolicy
from assay.token_rewards import TokenRewards
from assay.verl import DenseRewardManager, install


class Reward(DenseRewardManager):
    """What is asked for, and what becomes of it."""

    # ------------------------------------------------------------------------------------------------------------
    rewards = TokenRewards(task="math-steps")  # or route="segment", method="grm", options={...}
    policy = FailurePolicy("skip", timeout_s=30)  # or "scalar", "raise"
    shaping = Shaping(weight=0.5, baseline="group", gamma=None)
    outcome = True  # what reward.custom_reward_function says; False: nothing but token rewards
    reference = None  # "ground_truth", where the rewards go by a reference
    # ------------------------------------------------------------------------------------------------------------


install(Reward)
