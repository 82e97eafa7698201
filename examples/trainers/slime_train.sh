#!/usr/bin/env bash
# What to add to a script of slime's (scripts/run-*.sh): three plugin functions, and two variables for Ray's processes.
set -euo pipefail

REWARD_ARGS=(
   --custom-rm-path slime_reward.reward
   --custom-reward-post-process-path slime_reward.post_process
   --custom-advantage-function-path slime_reward.advantages
   --advantage-estimator grpo   # the loss of GRPO; its advantages are made by slime_reward
   --use-kl-loss                # no --kl-coef: a KL in the reward is refused
)
RUNTIME_ENV_JSON='{"env_vars": {"PYTHONPATH": "/path/of/Megatron-LM:/path/of/slime_reward", "ASSAY_URL": "http://assay:8000"}}'

ray job submit --runtime-env-json="${RUNTIME_ENV_JSON}" -- python3 train.py "${REWARD_ARGS[@]}" "$@"
