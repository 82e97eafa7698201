"""Hosts any Hugging Face causal language model in this process, on CPU or CUDA."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from ...domain.ports import Deadline, Generation, Sampling
from ...domain.provenance import ModelRef
from ...domain.rollout import Message
from ...domain.sequence import Choice
from ...settings import Determinism, EngineSettings
from ..batcher import Batcher, nearest
from ..lateness import refuse_late
from ..model_files import read_card
from ..openings import Openings
from ..preparing import prepared
from ..prompts import Questions
from .decoding import Decoder, Row
from .loading import Loaded, load
from .queued import Queued

BUDGET_TOKENS: Final = 32_768
"""Padded tokens, prompts and replies, under way at once: what bounds the key-value cache."""


class Generator(Queued):
    """One model, one thread that owns it, and a queue in front. ``card`` is the model's ``assay.json``."""

    def __init__(
        self, loaded: Loaded, *, max_model_len: int | None = None, card: Mapping[str, Any] | None = None
    ) -> None:
        self.model: ModelRef = loaded.ref
        self.card = card
        # Held, so that another use of the same weights finds them.
        self._loaded = loaded
        context = loaded.context(max_model_len)
        self._questions = Questions(loaded.tokenizer, loaded.ref.name, context, loaded.vocabulary)
        self._openings = Openings(loaded.tokenizer.get_vocab)
        self.decoder = Decoder(loaded.model, loaded.tokenizer, _end_ids(loaded))
        # A token written beside others is rounded by how many they are and how long: held rows are written alone.
        shared = self.decoder.can_share and loaded.determinism is Determinism.NONE
        budget_tokens = BUDGET_TOKENS if shared else 1
        self._batcher = Batcher(self.decoder.run, nearest(budget_tokens), name=f"model {loaded.ref.name}")
        super().__init__(self._batcher)

    @classmethod
    async def open(cls, settings: EngineSettings) -> Self:
        """Load the model in a thread. Raises ``ValueError`` with what to do when it cannot be loaded."""
        loaded = await asyncio.to_thread(load, settings)
        card = await asyncio.to_thread(read_card, loaded.ref.name, settings.revision)
        return cls(loaded, max_model_len=settings.max_model_len, card=card)

    def rendered(self, messages: tuple[Message, ...]) -> Sequence[int]:
        """The ids that the model reads of a prompt."""
        return self._questions.encode(messages, 0)

    async def generate(
        self, messages: tuple[Message, ...], sampling: Sampling, *, deadline: Deadline
    ) -> Generation:
        """Continue ``messages``, in a batch with whatever else is under way; a JSON schema is ignored."""
        return await self._write(messages, Row((), sampling), deadline)

    async def choose(
        self, messages: tuple[Message, ...], words: tuple[str, ...], *, deadline: Deadline
    ) -> Choice:
        """The probability of each word as the first token: one forward pass.

        Of a word that is no token by itself this is that of its beginning, see ``openings``.
        """
        watched = await asyncio.to_thread(self._openings, words)
        row = Row((), Sampling(max_tokens=1), watched=watched)
        generation = await self._write(messages, row, deadline)
        return Choice(row.first, generation.usage)

    async def _write(self, messages: tuple[Message, ...], row: Row, deadline: Deadline) -> Generation:
        refuse_late(deadline)
        row.prompt_ids = await prepared(1, self._questions.encode, messages, row.sampling.max_tokens)
        return await self._submit(row, deadline)

    async def _submit(self, row: Row, deadline: Deadline) -> Generation:
        size = len(row.prompt_ids) + row.sampling.max_tokens
        return await self._batcher.submit(row, size=size, deadline=deadline)


def _end_ids(loaded: Loaded) -> frozenset[int]:
    config = loaded.model.generation_config
    ends: Any = None if config is None else config.eos_token_id
    listed = ends if isinstance(ends, list) else [ends]
    return frozenset(end for end in (*listed, loaded.tokenizer.eos_token_id) if end is not None)
