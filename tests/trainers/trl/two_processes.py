"""One of two processes that train together; run by test_processes. Arguments: two URLs, on_failure, a folder."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from trl import GRPOConfig

import assayd
from assay.dense import Shaping
from assay.trl import AssayReward, DenseGRPOTrainer

POCKET = Path(assayd.__file__).with_name("pocket") / "entropy"


def even(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """An outcome that differs within a group."""
    return [float(ids[0] % 2) for ids in completion_ids]


class Watched(DenseGRPOTrainer):
    """Writes down what every loss is given."""

    def compute_loss(self, model: Any, inputs: Any, *more: Any, **named: Any) -> Any:
        """TRL's."""
        rows = zip(inputs["completion_ids"], inputs["completion_mask"], inputs["advantages"], strict=True)
        for ids, mask, advantages in rows:
            kept.append([ids[mask == 1].tolist(), advantages[mask == 1].tolist()])
        return super().compute_loss(model, inputs, *more, **named)


kept: list[Any] = []
rank = int(os.environ["RANK"])
url, on_failure, out = sys.argv[1 + rank], sys.argv[3], Path(sys.argv[4])
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=2048,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=256,
    bos_token_id=None,
    eos_token_id=0,
    pad_token_id=1,
    initializer_range=0.3,
)
reward = AssayReward(url, task="math-steps", tokenizer={"name": str(POCKET)}, on_failure=on_failure)  # type: ignore[arg-type]
trainer = Watched(
    LlamaForCausalLM(config),
    [even],
    GRPOConfig(
        str(out / "checkpoints"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        max_steps=1,
        logging_steps=1,
        per_device_train_batch_size=2,
        num_generations=4,  # a group lies on both processes
        max_completion_length=8,
    ),
    train_dataset=Dataset.from_list([{"prompt": f"{n} + {n}"} for n in range(16)]),
    processing_class=AutoTokenizer.from_pretrained(POCKET),
    dense=[(reward, Shaping(baseline="position"))],
)
try:
    trainer.train()
    ended = "trained"
except Exception as error:
    ended = type(error).__name__
logged = next((line for line in trainer.state.log_history if "assay/math-steps/failed" in line), {})
result = {"ended": ended, "rows": kept, "failed": logged.get("assay/math-steps/failed")}
(out / f"{rank}.json").write_text(json.dumps(result))
