"""``make demo``: start the service on the embedded models, score sample rollouts over HTTP, show each token's reward.

First the critic's: green tokens earned something, red ones cost something, grey ones were judged and found
unremarkable. Then the same arithmetic and replies in segments, cut where a policy would be unsure. Last the smallest
correction of a slip, and what it says about each token.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import httpx
from rich.console import Console
from rich.text import Text

import assay

ROLLOUTS = Path(__file__).with_name("rollouts.jsonl")
SEGMENTED = ("right", "slip", "insult", "polite")
CORRECTED = "slip"
REFERENCE = "3 bags of 4 lanterns make 3 * 4 = 12 lanterns.\nWith the others there are 12 + 8 = 20.\nA: 20"
START_WITHIN_S = 120.0


@contextmanager
def service() -> Iterator[str]:
    """``assayd serve`` on a free port, stopped at the end; gives its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "assayd", "serve", "--port", str(port)]
    # Nobody else calls it, so nobody has to notice that it ends.
    environment = {**os.environ, "ASSAY_SERVER__DRAIN_S": "0"}
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)  # noqa: S603 - our own program
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return when ``/readyz`` is green; give up when the service died or took too long."""
    give_up_at = time.monotonic() + START_WITHIN_S
    while time.monotonic() < give_up_at:
        if process.poll() is not None:
            sys.exit("the service did not start; run `make serve` to see why")
        try:
            if httpx.get(f"{url}/readyz").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    sys.exit(f"the service was not ready within {START_WITHIN_S:.0f} s")


def coloured(text: str, result: assay.Scored | assay.SegmentScored | assay.Probed) -> Text:
    """The completion, each token in the colour of its reward."""
    shown = Text()
    end = 0
    for (start, stop), reward in zip(result.offsets, result.intrinsic, strict=True):
        start = max(start, end)  # tokens may share a character; show it once
        shown.append(text[end:start])
        style = "grey62" if reward == 0 else f"black on {'green' if reward > 0 else 'red'}"
        shown.append(text[start:stop], style=style)
        end = max(end, stop)
    shown.append(text[end:])
    return shown


def show(console: Console, rollout: dict, result: assay.Scored | assay.Failed) -> None:
    """One completion with its remarks below."""
    console.print(
        Text(f"\n{rollout['id']}  ", style="bold") + Text(rollout.get("prompt", ""), style="italic")
    )
    if isinstance(result, assay.Failed):
        console.print(Text(f"  not judged ({result.kind}): {result.detail}", style="yellow"))
        return
    console.print(coloured(rollout["completion"]["text"], result))
    for span in result.spans:
        reason = f"  ({span.reason})" if span.reason else ""
        console.print(Text(f"  {span.reward:+.2f} {span.label}: {span.text!r}{reason}"))
    rewards = ", ".join(f"{reward:g}" for reward in result.rewards)
    console.print(Text(f"  {len(result.rewards)} tokens, rewards [{rewards}]", style="grey50"))


def show_segments(console: Console, rollout: dict, result: assay.SegmentScored | assay.Failed) -> None:
    """One completion in the colours of its token rewards, and its segments below."""
    console.print(Text(f"\n{rollout['id']}", style="bold"))
    if isinstance(result, assay.Failed):
        console.print(Text(f"  not judged ({result.kind}): {result.detail}", style="yellow"))
        return
    console.print(coloured(rollout["completion"]["text"], result))
    for segment in result.segments:
        tokens = segment.token_end - segment.token_start
        numbers = f"{segment.reward:+.2f} (raw {segment.raw:+.2f}) over {tokens} tokens"
        console.print(Text(f"  {numbers}: {segment.text!r}", style="red" if segment.reward < 0 else "green"))


def edited(text: str, edits: Sequence[assay.Edit]) -> Text:
    """The completion with what was struck out and what came instead."""
    shown = Text()
    done = 0
    for edit in edits:
        shown.append(text[done : edit.start])
        shown.append(text[edit.start : edit.end], style="strike red")
        shown.append(edit.replacement, style="bold green")
        done = edit.end
    return shown.append(text[done:])


def show_rewrite(
    console: Console,
    text: str,
    rewrite: assay.Rewritten | assay.Failed,
    probe: assay.Probed | assay.Failed,
) -> None:
    """One correction, and the completion in the colours of what its tokens are worth by it."""
    for failed in (rewrite, probe):
        if isinstance(failed, assay.Failed):
            console.print(Text(f"  not judged ({failed.kind}): {failed.detail}", style="yellow"))
    if isinstance(rewrite, assay.Rewritten):
        console.print(edited(text, rewrite.edits))
        told = f"first wrong step {rewrite.error_step}, verified: {rewrite.verified}"
        console.print(
            Text(
                f"  {told}, {rewrite.edit_distance} tokens changed ({rewrite.edit_ratio:.0%})", style="grey50"
            )
        )
    if isinstance(probe, assay.Probed):
        console.print(coloured(text, probe))
        rewards = ", ".join(f"{round(reward, 2) + 0:g}" for reward in probe.rewards)
        console.print(Text(f"  {len(probe.rewards)} tokens, rewards [{rewards}]", style="grey50"))


def main() -> None:
    """Score every sample rollout and show it."""
    console = Console(force_terminal=True, width=110, highlight=False)
    rollouts = [json.loads(line) for line in ROLLOUTS.read_text(encoding="utf-8").splitlines()]
    with service() as url, assay.Client(url) as client:
        for task, group in groupby(rollouts, key=lambda rollout: rollout.pop("task")):
            items = list(group)
            answer = client.score_token(items, task=task)
            console.rule(f"{task}, judged by {answer.recipe['model']['name']}")
            for rollout, result in zip(items, answer.results, strict=True):
                show(console, rollout, result)
        paid = [rollout for rollout in rollouts if rollout["id"] in SEGMENTED]
        answer = client.score_segment(paid)
        console.rule(f"segments, scored by {answer.recipe['model']['name']}")
        for rollout, result in zip(paid, answer.results, strict=True):
            show_segments(console, rollout, result)
        slip = next(rollout for rollout in rollouts if rollout["id"] == CORRECTED) | {"reference": REFERENCE}
        rewrites = client.rewrite([slip])
        (probe,) = client.score_token([slip], method="grm").results
        console.rule(f"a correction, by {rewrites.recipe['model']['name']}")
        show_rewrite(console, slip["completion"]["text"], rewrites.results[0], probe)


if __name__ == "__main__":
    main()
