"""Draws what ``/score/segment`` makes of a file of rollouts: segment lengths, and rewards by position.

    python -m examples.segment_histograms rollouts.jsonl histograms.png

The rollouts are lines ``{"prompt", "completion": {"text"}}``; the service runs on the embedded models.
"""

import json
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import assay

from .demo import service

PER_CALL = 240
POSITIONS = 10


def scored(client: assay.Client, rollouts: list[dict]) -> list[assay.SegmentScored | assay.Failed]:
    """The answer for every rollout."""
    results = []
    for start in range(0, len(rollouts), PER_CALL):
        items = [
            {"prompt": rollout["prompt"], "completion": {"text": rollout["completion"]["text"]}}
            for rollout in rollouts[start : start + PER_CALL]
        ]
        results += client.score_segment(items, timeout_s=600).results
    return results


def draw(path: Path, results: list[assay.SegmentScored]) -> None:
    """Three panels: segment lengths, raw rewards by position, normalized rewards by position."""
    segments = [segment for result in results for segment in result.segments]
    figure = Figure(figsize=(15, 4.5), layout="constrained")
    lengths, raw, normalized = figure.subplots(1, 3)
    counts = [segment.token_end - segment.token_start for segment in segments]
    lengths.hist(counts, bins=range(1, min(max(counts), 60) + 2))
    lengths.set(
        title=f"{len(segments)} segments of {len(results)} completions", xlabel="tokens", ylabel="segments"
    )
    place = np.array([min(int(segment.progress * POSITIONS), POSITIONS - 1) for segment in segments])
    for axes, name in ((raw, "raw"), (normalized, "reward")):
        values = np.array([getattr(segment, name) for segment in segments])
        axes.boxplot(
            [values[place == tenth] for tenth in range(POSITIONS)],
            tick_labels=[f"{(tenth + 1) / POSITIONS:.1f}" for tenth in range(POSITIONS)],
            showfliers=False,
            showmeans=True,
        )
        axes.axhline(0, color="grey", linewidth=0.8)
        axes.set(
            title=f"segment {'rewards, normalized' if name == 'reward' else 'rewards, raw'}",
            xlabel="progress k/K",
        )
    figure.savefig(path, dpi=100)


def main() -> None:
    """Score every rollout, say how it went, and draw."""
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    rollouts = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
    with service() as url, assay.Client(url) as client:
        began_s = time.monotonic()
        results = scored(client, rollouts)
        took_s = time.monotonic() - began_s
    kept = [result for result in results if isinstance(result, assay.SegmentScored)]
    failures = Counter(result.kind for result in results if isinstance(result, assay.Failed))
    print(f"{len(kept)} scored, failed {dict(failures)}, in {took_s:.1f} s")
    whole = all(len(result.rewards) == len(result.offsets) for result in kept)
    print(f"every reward list as long as its tokens: {whole}")
    by_verdict: dict[bool, list[float]] = {True: [], False: []}
    for rollout, result in zip(rollouts, results, strict=True):
        if (
            isinstance(result, assay.SegmentScored)
            and result.sequence_score is not None
            and "correct" in rollout
        ):
            by_verdict[rollout["correct"]].append(result.sequence_score)
    for correct, scores in by_verdict.items():
        if scores:
            print(
                f"{'right' if correct else 'wrong'}: mean sequence score {np.mean(scores):.3f} of {len(scores)}"
            )
    draw(Path(sys.argv[2]), kept)


if __name__ == "__main__":
    main()
