"""What the embedded critic is shown, and when: the three domains, short items first, cut into batches of like length."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor

from .corpora.arithmetic import arithmetic_items
from .corpora.items import Item, Split
from .corpora.sentiment import sentiment_items
from .corpora.toxicity import toxicity_items
from .pocket_prompt import END, PAD, render

ATTACKED = 0.2
_POOL = 512
_IGNORED = -100


@dataclass(frozen=True, slots=True)
class Stage:
    """Shares of the sources until this part of the training (0 to 1) is done."""

    until: float
    terse: float
    short: float
    full: float
    sentiment: float
    toxicity: float


CURRICULUM = (
    Stage(0.10, terse=0.90, short=0.00, full=0.00, sentiment=0.05, toxicity=0.05),
    Stage(0.25, terse=0.45, short=0.35, full=0.00, sentiment=0.10, toxicity=0.10),
    Stage(0.50, terse=0.15, short=0.30, full=0.25, sentiment=0.16, toxicity=0.14),
    Stage(1.00, terse=0.06, short=0.14, full=0.50, sentiment=0.17, toxicity=0.13),
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids and next-token targets, padded on the right; only the reply has targets."""

    ids_bt: Tensor
    targets_bt: Tensor


class Mixture:
    """The stream of batches; the same seed gives the same stream."""

    def __init__(self, tokenizer: Tokenizer, seed: int | str, tokens_per_batch: int) -> None:
        self._tokenizer = tokenizer
        self._tokens = tokens_per_batch
        self._random = Random(seed)
        self._sources = {
            "terse": arithmetic_items(seed, Split.TRAIN, steps=(1, 4), terse=1.0),
            "short": arithmetic_items(seed, Split.TRAIN, steps=(1, 2), attacked=ATTACKED),
            "full": arithmetic_items(seed, Split.TRAIN, steps=(2, 5), attacked=ATTACKED),
            "sentiment": sentiment_items(seed, Split.TRAIN, attacked=ATTACKED),
            "toxicity": toxicity_items(seed, Split.TRAIN, attacked=ATTACKED),
        }
        self._ready: list[list[tuple[list[int], list[int]]]] = []
        self._stage = CURRICULUM[0]

    def batch(self, progress: float) -> Batch:
        """The next batch at this part of the training."""
        stage = next(stage for stage in CURRICULUM if progress <= stage.until)
        if stage is not self._stage:
            self._stage, self._ready = stage, []
        if not self._ready:
            self._ready = self._fill(stage)
        return self._pad(self._ready.pop())

    def _fill(self, stage: Stage) -> list[list[tuple[list[int], list[int]]]]:
        weights = [getattr(stage, name) for name in self._sources]
        names = self._random.choices(list(self._sources), weights=weights, k=_POOL)
        encoded = sorted(self._encode([next(self._sources[name]) for name in names]), key=_length)
        batches: list[list[tuple[list[int], list[int]]]] = [[]]
        for example in encoded:
            if _length(example) * (len(batches[-1]) + 1) > self._tokens and batches[-1]:
                batches.append([])
            batches[-1].append(example)
        self._random.shuffle(batches)
        return batches

    def _encode(self, items: list[Item]) -> list[tuple[list[int], list[int]]]:
        heads = self._tokenizer.encode_batch([render(item.domain, item.prompt, item.completion) for item in items])
        replies = self._tokenizer.encode_batch([item.reply + END for item in items])
        return [(head.ids, reply.ids) for head, reply in zip(heads, replies, strict=True)]

    def _pad(self, examples: list[tuple[list[int], list[int]]]) -> Batch:
        longest = max(map(_length, examples)) - 1
        pad = self._tokenizer.token_to_id(PAD)
        ids = torch.full((len(examples), longest), pad)
        targets = torch.full((len(examples), longest), _IGNORED)
        for row, (head, reply) in enumerate(examples):
            known = torch.tensor([*head, *reply])
            ids[row, : len(known) - 1] = known[:-1]
            targets[row, len(head) - 1 : len(known) - 1] = known[len(head) :]
        return Batch(ids, targets)


def corpus_texts(seed: int, count: int) -> Iterator[str]:
    """Texts of all domains for the tokenizer, as the critic sees them."""
    for items in (
        arithmetic_items(seed, Split.TRAIN, attacked=ATTACKED),
        sentiment_items(seed, Split.TRAIN, attacked=ATTACKED),
        toxicity_items(seed, Split.TRAIN, attacked=ATTACKED),
    ):
        for item in islice(items, count):
            yield render(item.domain, item.prompt, item.completion) + item.reply


def _length(example: tuple[list[int], list[int]]) -> int:
    return len(example[0]) + len(example[1])
