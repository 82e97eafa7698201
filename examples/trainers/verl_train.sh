#!/usr/bin/env bash
# What to add to a script of veRL's: the reward manager, the estimator, and variables for all of Ray's processes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

export VERL_USE_EXTERNAL_MODULES=verl_reward PYTHONPATH="$here:${PYTHONPATH:-}" ASSAY_URL="${ASSAY_URL:-http://assay:8000}"

python3 -m verl.trainer.main_ppo \
   reward.reward_manager.source=importlib \
   reward.reward_manager.name=Reward \
   reward.reward_manager.module.path="$here/verl_reward.py" \
   algorithm.adv_estimator=assay_dense \
   algorithm.norm_adv_by_std_in_grpo=True \
   +ray_kwargs.ray_init.runtime_env.env_vars.VERL_USE_EXTERNAL_MODULES=verl_reward \
   +ray_kwargs.ray_init.runtime_env.env_vars.PYTHONPATH="$PYTHONPATH" \
   +ray_kwargs.ray_init.runtime_env.env_vars.ASSAY_URL="$ASSAY_URL" \
   "$@"
