"""Hosts a sequence classifier that reads prompt and completion as a pair of texts, both ways: BERT and its kin.

Rows are padded on the right behind an attention mask, so a score does not depend on its neighbours. (Sums are rounded
differently in batches of another shape: see ``shapes``.)
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from ...domain.failure import AnnotationFailed, FailureKind
from ...domain.ports import Deadline, Intake, Window
from ...domain.provenance import ModelRef, Usage
from ...domain.rollout import Message
from ...domain.sequence import PairScore
from ...settings import RewardSettings
from ..lateness import refuse_late
from ..preparing import estimated_tokens, prepared
from .forward import Reader
from .loading import Loaded, load
from .queued import Queued


@dataclass(frozen=True, slots=True)
class _Pair:
    """Ids as the tokenizer joins two texts, and which of the two each belongs to, where the model asks for that."""

    ids: tuple[int, ...]
    types: tuple[int, ...]


class PairScorer(Queued):
    """One classifier, one thread that owns it, and a queue in front.

    Of a model with one output the score is that output; of one with several it is the log-odds of ``label``, its
    number, whose sigmoid is its probability.
    """

    card = None

    def __init__(self, loaded: Loaded, label: int | None, *, max_model_len: int | None = None) -> None:
        self.model: ModelRef = loaded.ref
        self._model = loaded.model.train(False)
        self._tokenizer = loaded.tokenizer
        self.label = label
        holds = (loaded.context(max_model_len), loaded.tokenizer.model_max_length)
        self._context = min(length for length in holds if length is not None)
        self._vocabulary = loaded.vocabulary
        self._shapes = replace(loaded.shapes, context=self._context)
        self._reader: Reader[_Pair, float] = Reader(
            self._read, lambda pair: len(pair.ids), shapes=self._shapes, name=f"model {self.model.name}"
        )
        super().__init__(self._reader)

    @classmethod
    async def open(cls, settings: RewardSettings) -> Self:
        """Load the model in a thread. Raises ``ValueError`` with what to do when it cannot be loaded."""
        return await asyncio.to_thread(lambda: cls(*_loaded(settings), max_model_len=settings.max_model_len))

    def rendered(self, messages: tuple[Message, ...]) -> Sequence[int]:
        """The ids that the model reads of a prompt."""
        return self._rendered(messages, "", Window())[0].ids

    async def score_pair(
        self, prompt: tuple[Message, ...], text: str, *, window: Window, deadline: Deadline
    ) -> PairScore:
        """Score a completion behind its prompt, in a batch with whatever else is waiting."""
        refuse_late(deadline)
        pair, intake = await prepared(estimated_tokens(text), self._rendered, prompt, text, window)
        return PairScore(await self._reader.submit(pair, deadline=deadline), intake)

    def _rendered(self, prompt: tuple[Message, ...], text: str, window: Window) -> tuple[_Pair, Intake]:
        shown, dropped = self._tail(_one_text(prompt), window.max_prompt_length)
        texts = (shown, text) if shown else (text,)
        # A special token that is spelled in a text is text.
        encoded: Any = self._tokenizer(*texts, split_special_tokens=True, verbose=False)
        ids = tuple(encoded["input_ids"])
        types = tuple(encoded.get("token_type_ids", (0,) * len(ids)))
        limit = min(self._context, window.max_length or self._context)
        if len(ids) > limit:
            raise AnnotationFailed(
                FailureKind.TOO_LONG,
                f"prompt and completion have {len(ids)} tokens, but {self.model.name} may read {limit} in all: a "
                "completion is never cut, so lower `max_prompt_length`, which cuts the prompt's left",
            )
        # On CUDA such an id would end not one request but the process's use of the device.
        if max(ids) >= self._vocabulary:
            raise AnnotationFailed(
                FailureKind.ENGINE,
                f"the tokenizer of {self.model.name} gave ids past the model's embeddings",
            )
        return _Pair(ids, types), Intake(Usage(1, len(ids)), prompt_tokens_dropped=dropped)

    def _tail(self, prompt: str, longest: int | None) -> tuple[str, int]:
        """The end of a prompt that has ``longest`` tokens, and how many were dropped before it."""
        encoded: Any = self._tokenizer(
            prompt,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
            verbose=False,
        )
        offsets = encoded["offset_mapping"]
        dropped = 0 if longest is None else max(0, len(offsets) - longest)
        return (prompt[offsets[dropped][0] :] if dropped else prompt), dropped

    def _read(self, pairs: Sequence[_Pair]) -> list[float | None]:
        def padded(rows: list[tuple[int, ...]], fill: int) -> Tensor:
            return torch.tensor(self._shapes.padded(rows, fill), device=self._model.device)

        pad = cast(int, self._tokenizer.pad_token_id or 0)
        inputs = {
            "input_ids": padded([pair.ids for pair in pairs], pad),
            "attention_mask": padded([(1,) * len(pair.ids) for pair in pairs], 0),
        }
        if "token_type_ids" in self._tokenizer.model_input_names:
            inputs["token_type_ids"] = padded([pair.types for pair in pairs], 0)
        logits_bl: Tensor = self._model(**inputs).logits.float()
        scores = _scores(logits_bl, self.label)[: len(pairs)].tolist()
        return [score if math.isfinite(score) else None for score in scores]


def _scores(logits_bl: Tensor, label: int | None) -> Tensor:
    """The only output, or the log-odds of one label against all others."""
    if label is None:
        return logits_bl[:, 0]
    others_bl = torch.cat([logits_bl[:, :label], logits_bl[:, label + 1 :]], 1)
    return logits_bl[:, label] - others_bl.logsumexp(1)


def _one_text(prompt: tuple[Message, ...]) -> str:
    """A prompt as one text; turns are named when there are several."""
    if len(prompt) == 1:
        return prompt[0].content
    return "\n".join(f"{turn.role}: {turn.content}" for turn in prompt)


def _loaded(settings: RewardSettings) -> tuple[Loaded, int | None]:
    """The model, and which of its outputs counts; raises ``ValueError`` where that is not known."""
    notes: dict[str, Any] = {}

    def build(name: str, options: Mapping[str, Any]) -> PreTrainedModel:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            name, output_loading_info=True, **options
        )
        notes.update(found)
        return cast(PreTrainedModel, model)

    loaded = load(settings, build)
    missing = [*notes["missing_keys"], *(key for key, *_ in notes["mismatched_keys"])]
    if missing:
        raise ValueError(
            f"{settings.model} lacks {len(missing)} tensors of a sequence classifier, such as {min(missing)}: they "
            "would be random"
        )
    if not loaded.tokenizer.is_fast:
        raise ValueError(f"the tokenizer of {settings.model} needs a tokenizer.json")
    return loaded, _label(loaded.model.config, settings)


def _label(config: Any, settings: RewardSettings) -> int | None:
    names: dict[int, str] = {int(index): str(name) for index, name in config.id2label.items()}
    if config.num_labels == 1 and settings.label is None:
        return None
    found = [index for index, name in names.items() if settings.label in (str(index), name)]
    if len(found) != 1:
        raise ValueError(
            f"{settings.model} has the labels {', '.join(f'{index} ({name})' for index, name in names.items())}: name "
            "the one that is rewarded as its `label`"
        )
    return found[0] if config.num_labels > 1 else None
