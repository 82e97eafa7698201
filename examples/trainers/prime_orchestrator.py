"""Dense rewards in prime-rl: start this orchestrator instead of prime-rl's own, beside its trainer and inference.

ASSAY_URL=http://assay:8000 python examples/trainers/prime_orchestrator.py @ orchestrator.toml
"""

from prime_rl.entrypoints.orchestrator import main

from assay.dense import Shaping
from assay.policy import FailurePolicy
from assay.prime import register
from assay.token_rewards import TokenRewards

# --------------------------------------------------------------------------------------------------------------------
register(
    TokenRewards(
        task="math-steps",  # or route="segment", method="grm", options={...}
        tokenizer={"name": "Qwen/Qwen3-0.6B", "revision": "main"},  # the policy's
    ),
    Shaping(weight=0.5, baseline="group", gamma=None),
    algorithm="grpo",  # or "max_rl", "rae": the type of [orchestrator.algo]
    policy=FailurePolicy("skip", timeout_s=30),  # or "scalar", "raise"
    fields=lambda trace: {},  # {"reference": trace.task.data.answer}
)
# --------------------------------------------------------------------------------------------------------------------

if __name__ == "__main__":
    main()
