"""Trains the small policy by outcome alone and by outcome with dense rewards, on one core, over several sittings.

    python -m examples.dense_vs_outcome.base base-policy
    python -m examples.dense_vs_outcome.run base-policy results
    python -m examples.dense_vs_outcome.report results

Each arm is run with each seed, with the same number of samples. What was done is kept: a run that is stopped goes on
from its last checkpoint, one that is done is not done again. The examination's results are lines of JSON in
``results/<arm>-<seed>.jsonl``:

- ``arm``, ``seed``, ``step``, ``samples``;
- ``accuracy`` of sampled answers, which is what is trained, and ``greedy``, of the likeliest ones;
- ``elapsed_s`` by the clock, ``cpu_s`` of this process (the service's is its own);
- ``train``: means of what TRL logged since the line before (``rewards/right_answer/mean``: share of right samples).
"""

import argparse
import json
import time
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint
from trl import GRPOConfig

from assay.trl import DenseGRPOTrainer

from ..demo import service
from .arms import ARMS, dense
from .examining import LONGEST, accuracy
from .problems import answer, training_problems

PROMPTS_PER_STEP = 8
SAMPLES_PER_PROMPT = 8
SAMPLES_PER_STEP = PROMPTS_PER_STEP * SAMPLES_PER_PROMPT
STEPS = 40
EXAMINED_EVERY = 5
LEARNING_RATE = 2e-4
WARM_UP_STEPS = 5
LOGGED = ("rewards/right_answer/mean", "completions/mean_length", "entropy")


def right_answer(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    """1 where the final answer is right, else 0."""
    return [float(_answer(turns) == expected) for turns, expected in zip(completions, answer, strict=True)]


def _answer(turns: Any) -> str | None:
    return answer(turns[0]["content"])


class Examiner(TrainerCallback):
    """Writes down how many problems are solved, now and then."""

    def __init__(self, path: Path, arm: str, seed: int, tokenizer: Any) -> None:
        self.path, self.arm, self.seed, self.tokenizer = path, arm, seed, tokenizer
        self.logged: defaultdict[str, list[float]] = defaultdict(list)
        self.began_s = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """The base policy; where a run goes on, only what is behind its checkpoint is kept."""
        lines = read(self.path)
        kept = [line for line in lines if line["step"] <= state.global_step]
        self.path.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self.began_s = time.monotonic() - (kept[-1]["elapsed_s"] if kept else 0.0)
        if not kept:
            self._examine(model, 0)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """What TRL says of a step, the service's calls included."""
        for name, value in (logs or {}).items():
            if (name in LOGGED or name.startswith("assay/")) and value is not None:
                self.logged[name].append(value)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Every few steps; a checkpoint follows."""
        if state.global_step % EXAMINED_EVERY == 0:
            self._examine(model, state.global_step)

    def _examine(self, model: Any, step: int) -> None:
        line = {
            "arm": self.arm,
            "seed": self.seed,
            "step": step,
            "samples": step * SAMPLES_PER_STEP,
            "accuracy": accuracy(model, self.tokenizer, greedy=False),
            "greedy": accuracy(model, self.tokenizer, greedy=True),
            "elapsed_s": round(time.monotonic() - self.began_s, 1),
            "cpu_s": round(time.process_time(), 1),
            "train": {name: fmean(values) for name, values in self.logged.items()},
        }
        self.logged.clear()
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of one run."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def train(base: Path, results: Path, arm: str, seed: int, steps: int, learning_rate: float, url: str) -> None:
    """One run, from the start or from where it was left."""
    lines = read(path := results / f"{arm}-{seed}.jsonl")
    if lines and lines[-1]["step"] >= steps:
        return
    tokenizer = AutoTokenizer.from_pretrained(base)
    folder = results / "checkpoints" / f"{arm}-{seed}"
    trainer = DenseGRPOTrainer(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        [right_answer],
        GRPOConfig(
            str(folder),
            seed=seed,
            max_steps=steps,
            per_device_train_batch_size=SAMPLES_PER_STEP,
            num_generations=SAMPLES_PER_PROMPT,
            max_completion_length=LONGEST,
            learning_rate=learning_rate,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=WARM_UP_STEPS,
            beta=0.0,
            save_steps=EXAMINED_EVERY,
            save_total_limit=1,
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            disable_tqdm=True,
            report_to=[],
        ),
        train_dataset=Dataset.from_list(training_problems(seed, steps * PROMPTS_PER_STEP)),
        processing_class=tokenizer,
        callbacks=[Examiner(path, arm, seed, tokenizer)],
        dense=dense(arm, url, {"name": str(base.resolve())}),
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(folder) if folder.exists() else None)


def main() -> None:
    """Do the runs that are not done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
    parser.add_argument("--url", help="of a service; one is started on the embedded models when absent")
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    with nullcontext(arguments.url) if arguments.url else service() as url:
        for seed in arguments.seeds:
            for arm in arguments.arms:
                train(
                    arguments.base,
                    arguments.results,
                    arm,
                    seed,
                    arguments.steps,
                    arguments.learning_rate,
                    url,
                )


if __name__ == "__main__":
    main()
