"""The reward model behind LitServe, as its documentation has it: ``python litserve_app.py MODEL PORT``."""

import sys

import litserve
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


class RewardModel(litserve.LitAPI):
    """Texts in, scores out, up to 64 at once."""

    def setup(self, device):
        """Load the model."""
        self.tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
        self.model = AutoModelForSequenceClassification.from_pretrained(
            sys.argv[1], dtype=torch.float32
        ).eval()

    def decode_request(self, request):
        """The text of a request."""
        return request["text"]

    def predict(self, texts):
        """The scores of a batch."""
        with torch.inference_mode():
            encoded = self.tokenizer(texts, padding=True, return_tensors="pt")
            return self.model(**encoded).logits[:, 0].tolist()

    def encode_response(self, output):
        """The answer to a request."""
        return {"reward": output}


if __name__ == "__main__":
    api = RewardModel(max_batch_size=64, batch_timeout=0.5)
    litserve.LitServer(api, accelerator="cpu").run(port=int(sys.argv[2]), generate_client_file=False)
