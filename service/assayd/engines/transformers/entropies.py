"""Log-probabilities and entropies from hidden states, without a float32 tensor of tokens times vocabulary."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

CHUNK_BYTES: Final = 64 * 2**20
"""Float32 logits held at once."""

Logits: TypeAlias = Callable[[Tensor], Tensor]
"""From hidden states ``[tokens, width]`` to logits ``[tokens, vocabulary]``, a new tensor that may be overwritten."""


@dataclass(frozen=True, slots=True)
class LogitsHead:
    """The output layer of a language model, and what some architectures do behind it.

    ``scale`` multiplies the logits (Cohere ``logit_scale``, Granite one over ``logits_scaling``, Falcon H1
    ``lm_head_multiplier``), ``cap`` bends them to ``cap * tanh(logits / cap)`` (Gemma ``final_logit_softcapping``).
    """

    layer: torch.nn.Linear
    scale: float = 1.0
    cap: float | None = None

    @classmethod
    def of(cls, model: PreTrainedModel) -> "LogitsHead":
        """The head of a model, as the config of its architecture describes it."""
        layer = cast(torch.nn.Linear, model.get_output_embeddings())  # type: ignore[no-untyped-call]
        config = model.config.get_text_config(decoder=True)
        scale = getattr(config, "logit_scale", None) or getattr(config, "lm_head_multiplier", None) or 1.0
        scale /= getattr(config, "logits_scaling", None) or 1.0
        return cls(layer, scale, getattr(config, "final_logit_softcapping", None))

    @property
    def vocabulary(self) -> int:
        """How many logits it gives."""
        return len(self.layer.weight)

    def __call__(self, hidden_nd: Tensor) -> Tensor:
        """Float32 logits; the product itself is in the layer's own dtype."""
        logits_nv: Tensor = self.layer(hidden_nd).float()
        if self.scale != 1.0:
            logits_nv.mul_(self.scale)
        return logits_nv if self.cap is None else logits_nv.div_(self.cap).tanh_().mul_(self.cap)


def weigh(
    logits: Logits, hidden_nd: Tensor, next_ids_n: Tensor, vocabulary: int, chunk_bytes: int = CHUNK_BYTES
) -> tuple[Tensor, Tensor]:
    """Log-probability of ``next_ids_n`` under, and entropy of, the distribution behind each place; nats, float32.

    Peak memory beside the arguments and the answers: ``4 * n * vocabulary`` bytes for one float32 chunk, with
    ``n = max(1, chunk_bytes // (4 * vocabulary))`` places at once, which is ``chunk_bytes`` (or one row of the
    vocabulary where that is longer); a head in a 16-bit dtype holds another half of that for a moment. It does not
    grow with the number of tokens.
    """
    rows = max(1, chunk_bytes // (4 * vocabulary))
    starts = range(0, len(hidden_nd), rows)
    weighed = [
        _weigh_chunk(logits(hidden_nd[start : start + rows]), next_ids_n[start : start + rows])
        for start in starts
    ]
    return _joined([logprobs_n for logprobs_n, _ in weighed]), _joined(
        [entropies_n for _, entropies_n in weighed]
    )


def _weigh_chunk(logits_nv: Tensor, next_ids_n: Tensor) -> tuple[Tensor, Tensor]:
    """Overwrites ``logits_nv``: every step is in place."""
    logits_nv.sub_(logits_nv.amax(-1, keepdim=True))
    chosen_n = logits_nv.gather(-1, next_ids_n[:, None])[:, 0]
    total_n1 = logits_nv.exp_().sum(-1, keepdim=True)
    probabilities_nv = logits_nv.div_(total_n1)
    # entr is -p ln p, and 0 at p = 0.
    entropies_n = torch.special.entr(probabilities_nv, out=probabilities_nv).sum(-1)
    return chosen_n - total_n1[:, 0].log(), entropies_n


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts)) if parts else torch.empty(0)
