"""Makes preference pairs of solutions whose outcome is known: of two of one problem, the right one is preferred.

    python examples/gsm8k_pairs.py rollouts.jsonl pairs.jsonl

The rollouts are lines ``{"prompt", "completion": {"text"}, "correct"}``; the pairs are what
``assayd train segment-rm`` reads.
"""

import json
import sys
from collections import defaultdict
from itertools import product
from pathlib import Path


def pairs_of(rollouts: Path) -> list[dict[str, str]]:
    """Each right solution with each wrong one of the same problem, in the order of the file."""
    solutions: dict[str, dict[bool, list[str]]] = defaultdict(lambda: {True: [], False: []})
    for line in rollouts.read_text(encoding="utf-8").splitlines():
        rollout = json.loads(line)
        told = solutions[rollout["prompt"]][rollout["correct"]]
        if rollout["completion"]["text"] not in told:
            told.append(rollout["completion"]["text"])
    return [
        {"prompt": prompt, "chosen": right, "rejected": wrong}
        for prompt, told in solutions.items()
        for right, wrong in product(told[True], told[False])
    ]


def main() -> None:
    """Read the first path, write the second."""
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    pairs = pairs_of(Path(sys.argv[1]))
    lines = "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)
    Path(sys.argv[2]).write_text(lines, encoding="utf-8")
    print(f"{len(pairs)} pairs of {len({pair['prompt'] for pair in pairs})} problems")


if __name__ == "__main__":
    main()
