"""Hosts a causal language model that says how likely each token was, and how open the choice behind it."""

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ...domain.ports import Deadline, TokenStats, Window
from ...domain.provenance import ModelRef
from ...domain.rollout import Completion, Message
from ...settings import EngineSettings
from ..lateness import refuse_late
from ..preparing import prepared
from ..weighing import token_stats
from .entropies import LogitsHead, weigh
from .forward import Backbone, Reader, probe_ids, tolerance
from .loading import Loaded, load
from .queued import Queued


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Ids to read, of which those from ``start`` on are to be weighed."""

    ids: tuple[int, ...]
    start: int


_Weights: TypeAlias = tuple[list[float], list[float]]
"""A log-probability and an entropy per weighed id."""


class TokenWeigher(Queued):
    """One language model, one thread that owns it, and a queue in front.

    Logits are made of a few places at a time (``entropies.weigh``), so the vocabulary bounds no batch.
    """

    entropy_approx: str | None = None

    def __init__(self, loaded: Loaded, *, max_model_len: int | None = None) -> None:
        self.model: ModelRef = loaded.ref
        # Held, so that another use of the same weights finds them.
        self._loaded = loaded
        name, model = loaded.ref.name, loaded.model
        self.backbone = Backbone(cast(PreTrainedModel, model.base_model), name, loaded.shapes)
        self._shapes = loaded.shapes
        self._head = LogitsHead.of(model)
        with torch.inference_mode():
            self._prove_head(name, model)
        self._renderer = loaded.renderer(max_model_len)
        self._reader: Reader[_Stretch, _Weights] = Reader(
            self._read, lambda stretch: len(stretch.ids), shapes=loaded.shapes, name=f"model {name}"
        )
        super().__init__(self._reader)

    @classmethod
    async def open(cls, settings: EngineSettings) -> Self:
        """Load the model in a thread. Raises ``ValueError`` with what to do when it cannot be loaded."""
        return await asyncio.to_thread(lambda: cls(load(settings), max_model_len=settings.max_model_len))

    def rendered(self, messages: tuple[Message, ...]) -> Sequence[int]:
        """The ids that the model reads of a prompt."""
        return self._renderer.prompt_ids(messages)

    async def weigh(
        self,
        prompt: tuple[Message, ...],
        completion: Completion,
        *,
        window: Window,
        deadline: Deadline,
        entropies: bool = False,
    ) -> TokenStats:
        """Weigh a completion in one forward pass, in a batch with whatever else is waiting.

        Where the model reads tokens of its own, see ``token_stats``.
        """
        refuse_late(deadline)
        reading = await prepared(len(completion), self._renderer.render, prompt, completion, window)
        if reading.start == len(reading.ids):
            empty = (0.0,) * len(completion)
            return TokenStats(empty, empty, reading.intake)
        stretch = _Stretch(reading.ids, reading.start)
        logprobs, opened = await self._reader.submit(stretch, deadline=deadline)
        return token_stats(reading, completion, logprobs, opened)

    def _read(self, stretches: Sequence[_Stretch]) -> list[_Weights | None]:
        hidden_btd = self.backbone([stretch.ids for stretch in stretches])
        return [
            weights
            for rows in self._shapes.together(len(stretches))
            for weights in self._weighed([hidden_btd[row] for row in rows], [stretches[row] for row in rows])
        ]

    def _weighed(self, hidden: Sequence[Tensor], stretches: Sequence[_Stretch]) -> Iterator[_Weights | None]:
        # From the place before the first token, whose distribution it was drawn from, to the last token.
        hidden_nd = torch.cat(
            [
                states_td[item.start - 1 : len(item.ids)]
                for states_td, item in zip(hidden, stretches, strict=True)
            ]
        )
        ids_n = torch.tensor(
            [id_ for item in stretches for id_ in (*item.ids[item.start :], 0)], device=hidden_nd.device
        )
        logprobs_n, entropies_n = weigh(self._head, hidden_nd, ids_n, self._head.vocabulary)
        lengths = [len(item.ids) - item.start + 1 for item in stretches]
        for logprobs_m, entropies_m in zip(
            torch.split(logprobs_n, lengths), torch.split(entropies_n, lengths), strict=True
        ):
            yield _finite(logprobs_m[:-1].tolist(), entropies_m[1:].tolist())

    def _prove_head(self, name: str, model: PreTrainedModel) -> None:
        """See that hidden states and head give the very logits that the model itself gives."""
        ids = probe_ids(model)
        ids_bt = torch.tensor(self._shapes.padded([ids], 0), device=model.device)
        own_tv = model(input_ids=ids_bt).logits[0, : len(ids)].float()
        if not torch.allclose(
            self._head(self.backbone([ids])[0, : len(ids)]),
            own_tv,
            rtol=0,
            atol=tolerance(own_tv, model.dtype),
        ):
            raise ValueError(
                f"{name} changes its logits in a way that is not known here, so its entropies would be wrong: "
                "choose another model, or send the policy's own `entropies`"
            )


def _finite(logprobs: list[float], entropies: list[float]) -> _Weights | None:
    return (logprobs, entropies) if all(map(math.isfinite, (*logprobs, *entropies))) else None
