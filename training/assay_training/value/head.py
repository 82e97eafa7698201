"""The head that is trained: a learned query, attention over the frozen states of a prompt, one number.

The service computes the same from the saved tensors with code of its own (`assayd.engines.transformers.value_head`).
"""

import torch
from torch import Tensor, nn

QUERY_STD = 0.02


class TrainableHead(nn.Module):
    """``max_value`` times a sigmoid of what a learned query sees. Dropout acts in training mode alone."""

    def __init__(self, width: int, *, heads: int, max_value: float, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} attention heads do not divide states of width {width}")
        self.max_value = max_value
        self.query = nn.Parameter(torch.randn(width) * QUERY_STD)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(width, 1)

    def forward(self, hidden_btd: Tensor, lengths_b: Tensor) -> Tensor:
        """The values ``[b]`` of prompts whose states stand on the left of each row."""
        rows, places, _ = hidden_btd.shape
        padding_bt = torch.arange(places, device=lengths_b.device) >= lengths_b[:, None]
        query_b1d = self.query.expand(rows, 1, -1)
        seen_b1d, _ = self.attention(
            query_b1d, hidden_btd, hidden_btd, key_padding_mask=padding_bt, need_weights=False
        )
        scores_b: Tensor = self.score(self.dropout(seen_b1d[:, 0]))[:, 0]
        return self.max_value * scores_b.sigmoid()
