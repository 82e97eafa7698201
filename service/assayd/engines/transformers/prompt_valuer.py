"""Hosts a value head over its frozen reference policy: one forward pass over a prompt gives its value (A-LoL)."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeAlias, cast

import torch
from transformers import PreTrainedModel

from ...domain.ports import Deadline, Window
from ...domain.provenance import ModelRef
from ...domain.rollout import Completion, Message
from ...domain.sequence import PromptValue
from ...domain.text import Alignment
from ...settings import ValueSettings
from ..lateness import refuse_late
from ..model_files import digest
from ..preparing import prepared
from .forward import Backbone, Reader
from .loading import Loaded, load
from .queued import Queued
from .value_head import ValueHead, load_value_head, value_card

_Ids: TypeAlias = tuple[int, ...]
_NOTHING: Final = Completion(Alignment("", (), ()))


class PromptValuer(Queued):
    """One reference policy up to its last states, a head on them, one thread that owns both, and a queue in front.

    ``card`` is the head's ``assay.json``. Raises ``ValueError`` where the head was trained on another policy.
    """

    def __init__(self, loaded: Loaded, folder: Path, *, max_model_len: int | None = None) -> None:
        self.card: Mapping[str, Any] = value_card(folder)
        trained_on = self.card["base"]["revision"]
        if trained_on != loaded.ref.revision:
            raise ValueError(
                f"the value head {folder} was trained on the states of {self.card['base']['name']} at {trained_on}; "
                f"{loaded.ref.name} is at {loaded.ref.revision}, another model: train a head on it with `assayd train "
                "value`, or name the base it was trained on as sequence.value_base"
            )
        self.model = ModelRef(str(folder), digest(folder), loaded.ref.engine)
        self.backbone = Backbone(
            cast(PreTrainedModel, loaded.model.base_model), loaded.ref.name, loaded.shapes
        )
        width = loaded.model.config.get_text_config(decoder=True).hidden_size
        self._head: ValueHead = load_value_head(folder, width).to(loaded.model.device)
        self._renderer = loaded.renderer(max_model_len)
        self._reader: Reader[_Ids, float] = Reader(
            self._read, len, shapes=loaded.shapes, name=f"value head {folder}"
        )
        super().__init__(self._reader)

    @classmethod
    async def open(cls, settings: ValueSettings) -> Self:
        """Load policy and head in a thread. Raises ``ValueError`` with what to do when they cannot be had."""
        return await asyncio.to_thread(lambda: cls(*_parts(settings), max_model_len=settings.max_model_len))

    def rendered(self, messages: tuple[Message, ...]) -> Sequence[int]:
        """The ids that the model reads of a prompt."""
        return self._renderer.prompt_ids(messages)

    async def value(self, prompt: tuple[Message, ...], *, window: Window, deadline: Deadline) -> PromptValue:
        """The value at one prompt, in a batch with whatever else is waiting."""
        refuse_late(deadline)
        reading = await prepared(1, self._renderer.render, prompt, _NOTHING, window)
        value = await self._reader.submit(reading.ids, deadline=deadline)
        return PromptValue(value, reading.intake)

    def _read(self, prompts: Sequence[_Ids]) -> list[float | None]:
        hidden_btd = self.backbone(prompts)
        # Rows that nobody asked for are of any length.
        lengths = [len(ids) for ids in prompts] + [1] * (len(hidden_btd) - len(prompts))
        values_b = self._head(hidden_btd, torch.tensor(lengths, device=hidden_btd.device))
        return [value if math.isfinite(value) else None for value in values_b[: len(prompts)].tolist()]


def _parts(settings: ValueSettings) -> tuple[Loaded, Path]:
    """The reference policy and the folder of the head; the policy as the card names it, unless the settings do."""
    folder = Path(settings.head or "")
    base = settings.model or value_card(folder)["base"]["name"]
    return load(settings.model_copy(update={"model": base})), folder
