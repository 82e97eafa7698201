"""A segment reward model by vLLM's pooling: one pass gives the raw reward at every token (papers.md 2.2)."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

from vllm import PoolingParams

from ...domain.failure import AnnotationFailed, Blame, FailureKind
from ...domain.ports import Attention, Deadline, SegmentScores, Window
from ...domain.provenance import ModelRef
from ...domain.rollout import Completion, Message
from ...domain.text import Segment
from ...settings import EngineSettings
from ..batcher import NOT_FINITE
from ..model_files import read_card
from ..preparing import prepared
from .arguments import engine_args
from .host import Host
from .hosted import Hosted
from .reading import TextSide, pinned
from .staging import stage

RAW: Final = PoolingParams(task="token_classify", use_activation=False)


class SegmentScorer(Hosted):
    """One model. ``card`` is its ``assay.json``."""

    def __init__(
        self,
        host: Host,
        text: TextSide,
        card: Mapping[str, Any] | None,
        staged: TemporaryDirectory[str],
        *,
        may_sleep: bool,
    ) -> None:
        super().__init__(host, may_sleep=may_sleep)
        self.model: ModelRef = text.model
        self.card = card
        self._renderer = text.renderer
        self._staged = staged

    @classmethod
    async def open(cls, settings: EngineSettings) -> Self:
        """Start the engine. Raises ``ValueError`` with what to do when it does not start."""
        own = await asyncio.to_thread(pinned, settings)
        staged = TemporaryDirectory(prefix="assayd-segment-")
        try:
            folder = await asyncio.to_thread(stage, settings, own, staged.name)
            # Its own prefix cache would hide the states of the tokens that it holds.
            args = engine_args(
                settings.model_copy(update={"model": folder, "revision": None}),
                runner="pooling",
                convert="classify",
                served_model_name=settings.model,
                enable_prefix_caching=False,
            )
            host = await Host.open(args, RAW, settings.max_in_flight)
            text = await asyncio.to_thread(TextSide.of, settings, own, host.config)
        except BaseException:
            staged.cleanup()
            raise
        card = read_card(str(settings.model), text.model.revision)
        return cls(host, text, card, staged, may_sleep=settings.vllm.sleep_mode)

    async def close(self) -> None:
        """End the engine; safe to call twice."""
        await super().close()
        self._staged.cleanup()

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
        """Read the head where each segment ends, in vLLM's continuous batch."""
        reading = await prepared(
            len(completion), self._renderer.render, prompt, completion, window, closing=closing
        )
        places = reading.places_of(segments, closing=closing)
        if not places:
            return SegmentScores((), reading.intake)
        told = await self._host.ask(list(reading.ids), RAW, deadline=deadline)
        scores_t = told.outputs.data.flatten().tolist()
        values = tuple(scores_t[place] for place in places)
        if not all(map(math.isfinite, values)):
            raise AnnotationFailed(FailureKind.ENGINE, NOT_FINITE, blame=Blame.ALONE)
        return SegmentScores(values, reading.intake)

    async def attend(
        self, prompt: tuple[Message, ...], completion: Completion, *, window: Window, deadline: Deadline
    ) -> Attention:
        """Refuse: vLLM's kernels show no attention."""
        raise AnnotationFailed(
            FailureKind.ENGINE,
            f"vLLM does not show the attention of {self.model.name}: set segment.engine to transformers, or choose "
            "another method",
        )
