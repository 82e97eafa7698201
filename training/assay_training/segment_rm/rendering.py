"""Pairs as token ids, in the way the service shows them to a hosted model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from assayd.domain.rollout import Completion
from assayd.domain.text import Alignment, Unaligned

from ..finetuning.rendering import PromptRenderer
from .pairs import Pair

TEXTS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Rendered:
    """A pair in tokens; the completions end with the tokenizer's end marker, where it has one.

    A completion is None where the tokens do not account for its text.
    """

    prompt_ids: list[int]
    chosen: Completion | None
    rejected: Completion | None


@dataclass(frozen=True, slots=True)
class PairRenderer(PromptRenderer):
    """Renders pairs for one tokenizer.

    A completion is tokenized apart from its prompt, and special tokens that are spelled in it count as text.
    """

    def render(self, pairs: Sequence[Pair]) -> Iterator[Rendered]:
        """Each pair in tokens, in order."""
        for start in range(0, len(pairs), TEXTS_AT_ONCE):
            some = pairs[start : start + TEXTS_AT_ONCE]
            prompts = self.prompts([pair.prompt for pair in some])
            chosen = self._completions([pair.chosen for pair in some])
            rejected = self._completions([pair.rejected for pair in some])
            yield from map(Rendered, prompts, chosen, rejected)

    def _completions(self, texts: Sequence[str]) -> Iterator[Completion | None]:
        encoded = self.tokenizer(
            list(texts),
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
            return_offsets_mapping=True,
        )
        for text, ids, offsets in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            yield self._completion(text, ids, offsets)

    def _completion(self, text: str, ids: list[int], offsets: list[tuple[int, int]]) -> Completion | None:
        end = self.tokenizer.eos_token_id
        marker = [] if end is None else [end]
        try:
            alignment = Alignment.from_offsets(text, [*offsets, *[(0, 0)] * len(marker)], [*ids, *marker])
        except Unaligned:
            return None
        return Completion(alignment, frozenset(range(len(ids), len(alignment))))
