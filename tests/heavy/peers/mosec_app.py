"""The reward model behind mosec, as its documentation has it: ``python mosec_app.py MODEL --port PORT``."""

import os
import sys

import torch
from mosec import Server, Worker
from transformers import AutoModelForSequenceClassification, AutoTokenizer

if not sys.argv[1].startswith("--"):
    # Its workers are processes that are given the server's own arguments only.
    os.environ["REWARD_MODEL"] = sys.argv.pop(1)


class RewardModel(Worker):
    """Texts in, scores out, up to 64 at once."""

    def __init__(self):
        super().__init__()
        folder = os.environ["REWARD_MODEL"]
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()

    def forward(self, data):
        """The scores of a batch."""
        with torch.inference_mode():
            encoded = self.tokenizer([one["text"] for one in data], padding=True, return_tensors="pt")
            return [{"reward": score} for score in self.model(**encoded).logits[:, 0].tolist()]


if __name__ == "__main__":
    server = Server()
    server.append_worker(RewardModel, num=1, max_batch_size=64, max_wait_time=500, timeout=30)
    server.run()
