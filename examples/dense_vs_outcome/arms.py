"""What the runs differ in: the dense rewards that join the outcome, and how.

All of them see the same problems, samples of the same number, and the same outcome: whether the final answer is right.
The weights bring a faulted token to about half of what a right answer is worth more than a wrong one.
The rewriter also praises tokens that it would keep: by the paper's default with up to 0.5, five times what a faulted
one loses. Here as much as a fault costs, so that its arm is not mostly the outcome said again at every token.
"""

from typing import Any, Final

from assay.dense import Shaping
from assay.trl import AssayReward

DEADLINE_S: Final = 120.0
SHAPED: Final[dict[str, tuple[dict[str, Any], Shaping]]] = {
    "relc": ({"task": "math-steps"}, Shaping(weight=1.0, baseline="group")),
    "segments": ({"route": "segment"}, Shaping(weight=1.0, baseline="group")),
    "grm": (
        {
            "method": "grm",
            "columns": {"reference": "reference"},
            # The policy's tokenizer is the rewriter's but for a template that neither uses.
            "options": {"tokenizer_policy": "transfer", "clip_correct": [0.0, 0.1]},
        },
        Shaping(weight=5.0, baseline="group"),
    ),
}
ARMS: Final = ("outcome", *SHAPED)


def dense(arm: str, url: str, tokenizer: Any) -> list[tuple[AssayReward, Shaping]]:
    """The dense rewards of an arm; of ``outcome`` there are none."""
    if arm not in SHAPED:
        return []
    asked, shaping = SHAPED[arm]
    return [(AssayReward(url, tokenizer=tokenizer, deadline_s=DEADLINE_S, **asked), shaping)]
