"""Hosts a causal language model that says how likely each token was, and how open the choice behind it."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self, TypeAlias, cast

import torch
from transformers import PreTrainedModel

from ...domain.ports import Deadline, Queue, TokenStats, Window
from ...domain.provenance import ModelRef
from ...domain.rollout import Completion, Message
from ...settings import EngineSettings
from ..lateness import refuse_late
from ..preparing import prepared
from ..weighing import token_stats
from .entropies import LogitsHead, weigh
from .forward import Backbone, Reader, probe_ids, tolerance
from .loading import Loaded, load


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Ids to read, of which those from ``start`` on are to be weighed."""

    ids: tuple[int, ...]
    start: int


_Weights: TypeAlias = tuple[list[float], list[float]]
"""A log-probability and an entropy per weighed id."""
_CANARY: Final = _Stretch((0, 0), 1)


class TokenWeigher:
    """One language model, one thread that owns it, and a queue in front.

    Logits are made of a few places at a time (``entropies.weigh``), so the vocabulary bounds no batch.
    """

    entropy_approx: str | None = None

    def __init__(self, loaded: Loaded, *, max_model_len: int | None = None) -> None:
        self.model: ModelRef = loaded.ref
        # Held, so that another use of the same weights finds them.
        self._loaded = loaded
        name, model = loaded.ref.name, loaded.model
        self.backbone = Backbone(cast(PreTrainedModel, model.base_model), name)
        self._head = LogitsHead.of(model)
        with torch.inference_mode():
            self._prove_head(name, model)
        self._renderer = loaded.renderer(max_model_len)
        self._reader: Reader[_Stretch, _Weights] = Reader(
            self._read,
            lambda stretch: len(stretch.ids),
            _CANARY,
            name=f"model {name}",
            pass_tokens=loaded.pass_tokens,
        )

    @classmethod
    async def open(cls, settings: EngineSettings) -> Self:
        """Load the model in a thread. Raises ``ValueError`` with what to do when it cannot be loaded."""
        return await asyncio.to_thread(lambda: cls(load(settings), max_model_len=settings.max_model_len))

    @property
    def line(self) -> Queue:
        """Those who wait for it."""
        return self._reader.line

    async def ready(self) -> bool:
        """Whether the model can answer: after a failure it has to read a token first."""
        return await self._reader.ready()

    async def close(self) -> None:
        """Fail what is under way and end the thread; safe to call twice."""
        await self._reader.close()

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
        # From the place before the first token, whose distribution it was drawn from, to the last token.
        hidden_nd = torch.cat(
            [hidden_btd[row, item.start - 1 : len(item.ids)] for row, item in enumerate(stretches)]
        )
        ids_n = torch.tensor(
            [id_ for item in stretches for id_ in (*item.ids[item.start :], 0)], device=hidden_nd.device
        )
        logprobs_n, entropies_n = weigh(self._head, hidden_nd, ids_n, self._head.vocabulary)
        lengths = [len(item.ids) - item.start + 1 for item in stretches]
        parts = zip(torch.split(logprobs_n, lengths), torch.split(entropies_n, lengths), strict=True)
        return [
            _finite(logprobs_m[:-1].tolist(), entropies_m[1:].tolist()) for logprobs_m, entropies_m in parts
        ]

    def _prove_head(self, name: str, model: PreTrainedModel) -> None:
        """See that hidden states and head give the very logits that the model itself gives."""
        ids = probe_ids(model)
        own_tv = model(input_ids=torch.tensor([ids], device=model.device)).logits[0].float()
        if not torch.allclose(
            self._head(self.backbone([ids])[0]), own_tv, rtol=0, atol=tolerance(own_tv, model.dtype)
        ):
            raise ValueError(
                f"{name} changes its logits in a way that is not known here, so its entropies would be wrong: "
                "choose another model, or send the policy's own `entropies`"
            )


def _finite(logprobs: list[float], entropies: list[float]) -> _Weights | None:
    return (logprobs, entropies) if all(map(math.isfinite, (*logprobs, *entropies))) else None
