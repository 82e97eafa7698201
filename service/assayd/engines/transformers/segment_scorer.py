"""Hosts a segment reward model: one forward pass gives the raw reward of every segment (papers.md 2.2)."""

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import torch
from torch import Tensor

from ...domain.failure import AnnotationFailed, FailureKind
from ...domain.ports import Attention, Deadline, SegmentScores, Window
from ...domain.provenance import ModelRef
from ...domain.rollout import Completion, Message
from ...domain.text import Segment
from ...settings import EngineSettings
from ..lateness import refuse_late
from ..preparing import prepared
from ..rendering import Reading
from ..transferring import split
from .attention_watch import watching
from .forward import Reader
from .queued import Queued
from .segment_model import SegmentModel, load_segment_model


@dataclass(frozen=True, slots=True)
class _Look:
    """Ids to read and places to score; the last place is watched where ``watched``."""

    ids: tuple[int, ...]
    places: tuple[int, ...]
    watched: bool = False


_Seen: TypeAlias = tuple[list[float], list[float]]
"""The scores at the places, and the attention of the last one to every id where it was watched."""


class SegmentScorer(Queued):
    """One segment model, one thread that owns it, and a queue in front. ``card`` is the model's ``assay.json``."""

    def __init__(self, hosted: SegmentModel, *, max_model_len: int | None = None) -> None:
        self.model: ModelRef = hosted.loaded.ref
        self.card = hosted.card
        self.backbone = hosted.backbone
        self._head = hosted.head
        self._watchable = hosted.watchable
        self._renderer = hosted.loaded.renderer(max_model_len)
        self._shapes = hosted.loaded.shapes
        self._reader: Reader[_Look, _Seen] = Reader(
            self._read, lambda look: len(look.ids), shapes=self._shapes, name=f"model {self.model.name}"
        )
        super().__init__(self._reader)

    @classmethod
    async def open(cls, settings: EngineSettings) -> Self:
        """Load the model in a thread. Raises ``ValueError`` with what to do when it cannot be loaded."""
        return await asyncio.to_thread(
            lambda: cls(load_segment_model(settings), max_model_len=settings.max_model_len)
        )

    def rendered(self, messages: tuple[Message, ...]) -> Sequence[int]:
        """The ids that the model reads of a prompt."""
        return self._renderer.prompt_ids(messages)

    async def score(
        self,
        prompt: tuple[Message, ...],
        completion: Completion,
        segments: tuple[Segment, ...],
        *,
        window: Window,
        deadline: Deadline,
        closing: bool = False,
    ) -> SegmentScores:
        """Read the head where each segment ends, in a batch with whatever else is waiting.

        With ``closing`` the last segment is read on the end marker, or on the last token of a completion that was
        truncated and therefore has none.
        """
        reading = await self._render(prompt, completion, window, deadline, closing=closing)
        places = reading.places_of(segments, closing=closing)
        if not places:
            return SegmentScores((), reading.intake)
        scores, _ = await self._reader.submit(_Look(reading.ids, places), deadline=deadline)
        return SegmentScores(tuple(scores), reading.intake)

    async def attend(
        self, prompt: tuple[Message, ...], completion: Completion, *, window: Window, deadline: Deadline
    ) -> Attention:
        """The score on the end marker, and where it looked (ABC, 2402.00782)."""
        if not self._watchable:
            raise AnnotationFailed(
                FailureKind.ENGINE,
                f"the attention of {self.model.name} cannot be read: its architecture does not run scaled dot "
                "product attention through transformers; choose another method or model",
            )
        reading = await self._render(prompt, completion, window, deadline, closing=True)
        look = _Look(reading.ids, (reading.end,), watched=True)
        (score,), looks = await self._reader.submit(look, deadline=deadline)
        if not looks:
            raise AnnotationFailed(FailureKind.ENGINE, f"{self.model.name} did not show its attention")
        return Attention(score, _shares(reading, completion, looks), reading.intake)

    async def _render(
        self,
        prompt: tuple[Message, ...],
        completion: Completion,
        window: Window,
        deadline: Deadline,
        *,
        closing: bool,
    ) -> Reading:
        refuse_late(deadline)
        return await prepared(
            len(completion), self._renderer.render, prompt, completion, window, closing=closing
        )

    def _read(self, looks: Sequence[_Look]) -> list[_Seen | None]:
        rows = [look.ids for look in looks]
        attention_bt: Tensor | None = None
        if any(look.watched for look in looks):
            with watching(self._last(looks)) as watch:
                hidden_btd = self.backbone(rows)
            attention_bt = watch.weights_bt
        else:
            hidden_btd = self.backbone(rows)
        return [
            _seen(scores, look, None if attention_bt is None else attention_bt[row])
            for row, (look, scores) in enumerate(zip(looks, self._scores(hidden_btd, looks), strict=True))
        ]

    def _last(self, looks: Sequence[_Look]) -> Tensor:
        """The watched place of each row of the pass, 0 in rows that nobody asked for."""
        count, _ = self._shapes.shape([len(look.ids) for look in looks])
        places = [look.places[-1] for look in looks]
        return torch.tensor(places + [0] * (count - len(looks)), device=self.backbone.model.device)

    def _scores(self, hidden_btd: Tensor, looks: Sequence[_Look]) -> Iterator[list[float]]:
        """The scores at the places of each row."""
        for rows in self._shapes.together(len(looks)):
            row_n = [row for row in rows for _ in looks[row].places]
            place_n = [place for row in rows for place in looks[row].places]
            scores = iter(self._head(hidden_btd[row_n, place_n]).tolist())
            yield from ([next(scores) for _ in looks[row].places] for row in rows)


def _seen(scores: list[float], look: _Look, attention_t: Tensor | None) -> _Seen | None:
    looks = attention_t[: len(look.ids)].tolist() if attention_t is not None and look.watched else []
    return (scores, looks) if all(map(math.isfinite, (*scores, *looks))) else None


def _shares(reading: Reading, completion: Completion, looks: Sequence[float]) -> tuple[float, ...]:
    """The attention on the completion's tokens, scaled to 1 in all."""
    weights = list(looks[reading.start : reading.stop])
    if reading.own is not None:
        weights = split(weights, reading.own, completion.alignment)
        if reading.marker is not None:
            weights[reading.marker] += looks[reading.end]
    weights = weights[: len(completion)]
    total = math.fsum(weights)
    return tuple(weight / total if total else 0.0 for weight in weights)
