"""Pairs as the trainer takes them: ids of both sides, and the places at which their segments end."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assayd.annotators.cutting import Cut, cut
from assayd.domain.rollout import Completion, Message

from .entropies import Row, weigh_rows
from .pairs import Pair
from .rendering import PairRenderer

_Entropies = NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Reading:
    """How pairs become rows: the cut, and how many tokens a row and its prompt may have."""

    cut: Cut
    max_length: int
    max_prompt_length: int

    def __post_init__(self) -> None:
        if min(self.max_length, self.max_prompt_length) < 1:
            raise ValueError("max_length and max_prompt_length need to be at least 1")

    def renderer(self, tokenizer: PreTrainedTokenizerBase) -> PairRenderer:
        """What renders pairs for this tokenizer."""
        return PairRenderer(tokenizer, self.max_prompt_length)


@dataclass(frozen=True, slots=True)
class Side:
    """One completion behind its prompt: ``ids`` of both, and the indices into them at which segments end."""

    ids: NDArray[np.int32]
    ends: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Example:
    """A pair to learn from. ``problem`` is the same for pairs of one prompt."""

    chosen: Side
    rejected: Side
    problem: str


@dataclass(frozen=True, slots=True)
class Examples:
    """What became of some pairs: the examples, and why the other pairs were dropped."""

    kept: list[Example]
    dropped: Counter[str]


@dataclass(frozen=True, slots=True)
class Weigher:
    """The frozen entropy model, its tokenizer, and the folder that keeps what it weighed."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    cache: Path


def make_examples(
    pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase, reading: Reading, weigher: Weigher | None
) -> Examples:
    """Render and cut pairs; those that do not fit, say nothing or say the same twice are dropped and counted."""
    dropped: Counter[str] = Counter()
    fitting = list(_fitting(pairs, tokenizer, reading, dropped))
    kept: list[Example] = []
    for fit, entropies in zip(fitting, _entropies(fitting, reading, weigher), strict=True):
        chosen, rejected = (
            _side(fit.prompt_ids, completion, weighed, reading.cut)
            for completion, weighed in zip(fit.completions, entropies, strict=True)
        )
        if len(chosen.ends) and len(rejected.ends):
            kept.append(Example(chosen, rejected, hashlib.sha256(repr(fit.prompt).encode()).hexdigest()))
        else:
            dropped["empty"] += 1
    return Examples(kept, dropped)


@dataclass(frozen=True, slots=True)
class _Fitting:
    """A pair that fits: the chosen and the rejected completion behind their prompt."""

    prompt: tuple[Message, ...]
    prompt_ids: list[int]
    completions: tuple[Completion, Completion]


def _fitting(
    pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase, reading: Reading, dropped: Counter[str]
) -> Iterator[_Fitting]:
    for pair, rendered in zip(pairs, reading.renderer(tokenizer).render(pairs), strict=True):
        if pair.chosen == pair.rejected:
            dropped["identical"] += 1
        elif rendered.chosen is None or rendered.rejected is None:
            dropped["unaligned"] += 1
        elif (
            len(rendered.prompt_ids) + max(len(rendered.chosen), len(rendered.rejected)) > reading.max_length
        ):
            dropped["too_long"] += 1
        else:
            yield _Fitting(pair.prompt, rendered.prompt_ids, (rendered.chosen, rendered.rejected))


def _entropies(
    fitting: Sequence[_Fitting], reading: Reading, weigher: Weigher | None
) -> Sequence[tuple[_Entropies, _Entropies]]:
    """Of both completions of each pair; one that stands in several pairs is weighed once."""
    if weigher is None or not fitting:
        return [(None, None)] * len(fitting)
    # The entropy model reads the prompt in its own template, as it does when it serves.
    prompts = reading.renderer(weigher.tokenizer).prompts([fit.prompt for fit in fitting])
    rows: dict[bytes, Row] = {}
    keys: list[bytes] = []
    for prompt_ids, fit in zip(prompts, fitting, strict=True):
        for completion in fit.completions:
            ids = _joined(prompt_ids, completion)
            keys.append(hashlib.sha256(ids.tobytes() + len(prompt_ids).to_bytes(8)).digest())
            rows[keys[-1]] = (ids, len(prompt_ids))
    weighed = weigh_rows(weigher.model, list(rows.values()), weigher.cache)
    by_key = dict(zip(rows, weighed, strict=True))
    return [
        (by_key[chosen], by_key[rejected]) for chosen, rejected in zip(keys[::2], keys[1::2], strict=True)
    ]


def _side(prompt_ids: list[int], completion: Completion, entropies: _Entropies, how: Cut) -> Side:
    values = None if entropies is None else entropies.tolist()
    ends = [len(prompt_ids) + segment.end - 1 for segment in cut(completion, values, how)]
    return Side(_joined(prompt_ids, completion), np.array(ends, np.int32))


def _joined(prompt_ids: list[int], completion: Completion) -> NDArray[np.int32]:
    return np.array([*prompt_ids, *(completion.alignment.token_ids or ())], np.int32)
