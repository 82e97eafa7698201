"""GRPO with TRL, its advantages made dense by Assay. Copy this file and change the lines marked with an arrow.

    python examples/trainers/trl_grpo.py

As it stands it trains for a few steps on the CPU, in under two minutes: a tiny policy on arithmetic, judged by the
service with its embedded models, which it starts itself. Needs ``trl>=1.16,<2`` and ``assay``.
"""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig

import assayd
from assay.dense import Shaping
from assay.trl import AssayReward, DenseGRPOTrainer

POLICY = str(
    Path(assayd.__file__).with_name("pocket") / "entropy"
)  # <- your model, such as "Qwen/Qwen3-0.6B"
TASK = "math-steps"  # <- what the critic looks for: relc-toxicity, remarks, ...
DEADLINE_S = 60.0  # <- a step waits this long for the service, then goes on without
SHAPING = Shaping(weight=0.5, baseline="group")  # <- how much a token's reward counts beside the outcome's
NUMBERS = [(a, b, c) for a in (2, 3, 4) for b in (2, 5, 6) for c in (1, 4, 7)]
STORY = "Bo has {} bags of {} pens. Bo buys {} more pens. How many pens does Bo have?"


def problems() -> Dataset:  # <- your data: "prompt", and the columns that your outcome needs
    """Stories with their answers."""
    return Dataset.from_list(
        [
            {"prompt": [{"role": "user", "content": STORY.format(a, b, c)}], "answer": str(a * b + c)}
            for a, b, c in NUMBERS
        ]
    )


def right_answer(completions: list, answer: list[str], **_: object) -> list[float]:  # <- your outcome
    """1 where the last ``A:`` is followed by the answer, else 0."""
    found = [re.findall(r"^A: *(\d+)", turns[0]["content"], re.MULTILINE) for turns in completions]
    return [float(numbers[-1:] == [expected]) for numbers, expected in zip(found, answer, strict=True)]


def train(url: str) -> DenseGRPOTrainer:
    """GRPO as you know it; ``dense`` is what is new."""
    tokenizer = AutoTokenizer.from_pretrained(POLICY)
    # The tokenizer itself: text and offsets are sent. {"name", "revision"}: ids, and the service loads it from the hub.
    critic = AssayReward(url, task=TASK, tokenizer=tokenizer, deadline_s=DEADLINE_S, on_failure="skip")
    trainer = DenseGRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(POLICY, dtype="float32"),
        reward_funcs=[right_answer],
        dense=[(critic, SHAPING)],
        args=GRPOConfig(  # <- yours; any loss by token, any accumulation, any number of processes
            output_dir="trl-grpo",
            max_steps=4,
            per_device_train_batch_size=16,
            num_generations=8,
            max_completion_length=96,
            temperature=1.5,  # the embedded policy makes few mistakes of its own
            learning_rate=1e-5,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            gradient_checkpointing=False,
            use_cpu=True,  # <- without these two lines on a GPU
            bf16=False,
        ),
        train_dataset=problems(),
        processing_class=tokenizer,
    )
    trainer.train()
    return trainer


@contextmanager
def embedded_service() -> Iterator[str]:  # <- instead: the URL of yours
    """``assayd serve`` on a free port; gives its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "assayd", "serve", "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: S603 - our own program
    try:
        url = f"http://127.0.0.1:{port}"
        while process.poll() is None:
            try:
                httpx.get(f"{url}/readyz", timeout=5).raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    with embedded_service() as url:
        for step in train(url).state.log_history:
            if "reward" in step:
                print(
                    f"right {step['rewards/right_answer/mean']:.2f}  "
                    f"critic's sum {step['rewards/assay/math-steps/mean']:.2f}  "
                    f"moved a token's advantage by {step['assay/math-steps/shaping']:.3f}  "
                    f"failed {step['assay/math-steps/failed']:.0%}  call {step['assay/math-steps/call_s']:.1f} s"
                )
