"""The handler that anyone would write first: one request, two forward passes, one at a time. Measured against.

``python -m tests.benchmarks.plain_handler --port N``. It loads the two embedded models with plain transformers.
"""

import argparse
import math
import threading
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, AutoTokenizer

from assayd.engines import POCKET_ENTROPY, POCKET_SEGMENT

C_ENT = 1.75
LINE = (0.7, 0.2, 0.1, 2.5)

app = FastAPI()
torch.set_num_threads(1)
tokenizer = AutoTokenizer.from_pretrained(str(POCKET_SEGMENT))
segment_model = AutoModelForTokenClassification.from_pretrained(
    str(POCKET_SEGMENT), dtype=torch.float32
).train(mode=False)
entropy_model = AutoModelForCausalLM.from_pretrained(str(POCKET_ENTROPY), dtype=torch.float32).train(
    mode=False
)
one_at_a_time = threading.Lock()


@app.get("/readyz")
def readyz() -> dict[str, bool]:
    """Whether it can answer."""
    return {"ready": True}


@app.post("/score")
def score(body: dict[str, Any]) -> dict[str, Any]:
    """Cut by entropy, read the head at the ends, normalize, split evenly."""
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": body["prompt"]}], tokenize=False, add_generation_prompt=True
    )
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    ids = tokenizer(body["completion"], add_special_tokens=False)["input_ids"]
    with one_at_a_time, torch.inference_mode():
        both = torch.tensor([before + ids])
        logprobs = torch.log_softmax(entropy_model(both).logits[0, len(before) :], -1)
        heads = segment_model(both).logits[0, len(before) :, 0].tolist()
    entropies = (-(logprobs.exp() * logprobs).sum(-1)).tolist()
    ends = [place for place, entropy in enumerate(entropies) if entropy > C_ENT or place == len(ids) - 1]
    rewards = [0.0] * len(ids)
    begin = 0
    for number, end in enumerate(ends, start=1):
        place = math.log(number / len(ends))
        value = (heads[end] - LINE[0] * place - LINE[2]) / (LINE[1] * place + LINE[3])
        rewards[begin : end + 1] = [value / (end + 1 - begin)] * (end + 1 - begin)
        begin = end + 1
    return {"rewards": rewards}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(app, port=parser.parse_args().port, log_level="warning")
