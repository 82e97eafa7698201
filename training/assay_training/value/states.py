"""The last hidden states of prompts in a frozen reference policy, as the service reads them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assayd.domain.rollout import Message

from ..finetuning.batching import TOKENS_AT_ONCE, batches_by_length, padded
from ..finetuning.rendering import PromptRenderer


class States:
    """States by prompt: computed once where all of them fit into ``cache_bytes``, and whenever asked elsewhere."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_prompt_length: int,
        cache_bytes: float,
    ) -> None:
        self._model = model.train(mode=False)
        self._renderer = PromptRenderer(tokenizer, max_prompt_length)
        self._cache_bytes = cache_bytes
        self._ids: dict[tuple[Message, ...], list[int]] = {}
        self._known: dict[tuple[Message, ...], Tensor] = {}

    @property
    def width(self) -> int:
        """Numbers in one state."""
        size: int = self._model.config.get_text_config(decoder=True).hidden_size
        return size

    @property
    def device(self) -> torch.device:
        """Where they are computed."""
        device: torch.device = self._model.device
        return device

    def learn(self, prompts: Sequence[tuple[Message, ...]]) -> None:
        """Get to know all prompts that will be asked for."""
        distinct = list(dict.fromkeys(prompts))
        self._ids = dict(zip(distinct, self._renderer.prompts(distinct), strict=True))
        places = sum(map(len, self._ids.values()))
        if 4 * places * self.width > self._cache_bytes:
            return
        for batch in batches_by_length([len(self._ids[prompt]) for prompt in distinct], TOKENS_AT_ONCE):
            some = [distinct[at] for at in batch]
            hidden_btd, lengths_b = self._computed(some)
            for prompt, hidden_td, length in zip(some, hidden_btd, lengths_b.tolist(), strict=True):
                self._known[prompt] = hidden_td[:length].clone()

    def lengths(self, prompts: Sequence[tuple[Message, ...]]) -> list[int]:
        """How many tokens each prompt has."""
        return [len(self._ids[prompt]) for prompt in prompts]

    def __call__(self, prompts: Sequence[tuple[Message, ...]]) -> tuple[Tensor, Tensor]:
        """``hidden_btd`` in float32, prompts on the left of each row, and their lengths ``[b]``."""
        if not self._known:
            return self._computed(prompts)
        rows = [self._known[prompt] for prompt in prompts]
        lengths_b = torch.tensor([len(row) for row in rows], device=self.device)
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths_b

    @torch.no_grad()
    def _computed(self, prompts: Sequence[tuple[Message, ...]]) -> tuple[Tensor, Tensor]:
        ids = [self._ids[prompt] for prompt in prompts]
        backbone: Any = self._model.base_model
        # No attention mask: a causal model sees nothing of the padding to its right.
        outputs = backbone(input_ids=padded(ids).to(self.device), use_cache=False)
        lengths_b = torch.tensor([len(row) for row in ids], device=self.device)
        return outputs.last_hidden_state.float(), lengths_b
