"""One forward pass for the requests of many callers.

Rows are padded on the right and there is no attention mask: every model here is causal, so a place sees nothing to
its right, and what it computes does not depend on padding or neighbours. (Sums are rounded differently in batches of
another shape: see ``shapes``.)
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeAlias, TypeVar, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ...domain.failure import Blame, FailureKind
from ...domain.ports import Deadline
from ..batcher import NOT_FINITE, Batcher, Job, Joiners
from ..line import Line
from .shapes import Shapes

PROBE_TOKENS: Final = 8
ROUNDING: Final = 8
"""Roundings by which two computations of one number may differ."""

Item = TypeVar("Item")
Result = TypeVar("Result")
Read: TypeAlias = Callable[[Sequence[Item]], Sequence[Result | None]]
"""The results of a few items by one forward pass; None where the model's numbers were not finite."""


class Backbone:
    """A causal model up to its last hidden states. ``passes`` and ``rows`` count forward passes and rows in them."""

    def __init__(self, model: PreTrainedModel, name: str, shapes: Shapes) -> None:
        self.model = model.train(False)
        self._shapes = shapes
        self._options = (
            {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
        )
        self.passes = self.rows = 0
        with torch.inference_mode():
            self._prove_causal(name)

    def __call__(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Hidden states ``hidden_btd`` of rows of ids; what stands behind the end of a row, or below, means nothing."""
        self.passes, self.rows = self.passes + 1, self.rows + len(rows)
        ids_bt = torch.tensor(self._shapes.padded(rows, 0), device=self.model.device)
        hidden_btd: Tensor = self.model(input_ids=ids_bt, **self._options).last_hidden_state
        return hidden_btd

    def _prove_causal(self, name: str) -> None:
        ids, other = probe_ids(self.model), probe_ids(self.model)
        other[-1] = ids[0]
        before = len(ids) - 1
        one_td, other_td = self([ids])[0, :before].float(), self([other])[0, :before].float()
        if not torch.allclose(one_td, other_td, rtol=0, atol=tolerance(one_td, self.model.dtype)):
            raise ValueError(
                f"{name} reads both ways: its score of a token would see what comes after. Choose a causal model"
            )


class Reader(Generic[Item, Result]):
    """A queue in front of ``read`` and the one thread that calls it."""

    def __init__(
        self, read: Read[Item, Result], size: Callable[[Item], int], *, shapes: Shapes, name: str
    ) -> None:
        self._read = read
        self._size = size
        self._shapes = shapes
        self._batcher: Batcher[Item, Result] = Batcher(self._run, self._choose, name=name)

    @property
    def line(self) -> Line[Job[Item, Result]]:
        """Those who wait, and those who are being read."""
        return self._batcher.line

    async def submit(self, item: Item, *, deadline: Deadline) -> Result:
        """The result of one item, read in company with whatever else is waiting."""
        return await self._batcher.submit(item, size=self._size(item), deadline=deadline)

    @property
    def alive(self) -> bool:
        """Whether an item submitted now would be read."""
        return self._batcher.alive

    @property
    def failing(self) -> bool:
        """Whether the last forward pass failed."""
        return self._batcher.failing

    async def close(self) -> None:
        """Fail what is under way and end the thread; safe to call twice."""
        await self._batcher.close()

    def _choose(self, waiting: Sequence[int], inside: Sequence[int]) -> list[int]:
        """The one pass that the first is in: whoever comes meanwhile waits for no other."""
        return self._shapes.pass_of_first(waiting)

    def _run(self, jobs: list[Job[Item, Result]], joiners: Joiners[Item, Result]) -> None:
        self.line.count_batch([job.size for job in jobs])
        with torch.inference_mode():
            results = self._read([job.item for job in jobs])
        for job, result in zip(jobs, results, strict=True):
            if result is None:
                job.fail(FailureKind.ENGINE, NOT_FINITE, blame=Blame.ALONE)
            else:
                job.answer(result)


def probe_ids(model: PreTrainedModel) -> list[int]:
    """A few ids, the last two of them different, to watch a model by."""
    vocabulary = cast(torch.nn.Embedding, model.get_input_embeddings()).num_embeddings
    return [(7 * place + 3) % vocabulary for place in range(PROBE_TOKENS)]


def tolerance(values: Tensor, dtype: torch.dtype) -> float:
    """By how much equal numbers may differ that were computed in ``dtype``."""
    return ROUNDING * torch.finfo(dtype).eps * max(1.0, values.abs().max().item())
