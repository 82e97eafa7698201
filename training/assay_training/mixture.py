"""What an embedded model is shown, and when: a course of texts, short ones first, in batches of like length."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Protocol

import torch
from tokenizers import Tokenizer
from torch import Tensor

from .corpora.arithmetic import arithmetic_items
from .corpora.items import Item, Split
from .corpora.sentiment import sentiment_items
from .corpora.toxicity import toxicity_items
from .pocket_prompt import END, PAD, render, render_prompted
from .pocket_tokenizer import token_id

ATTACKED = 0.2
# Mostly wrong results: where claims are mostly right, a model copies them and never learns to compute.
SLIPS = (8, 1, 1, 1)
_POOL = 512
_IGNORED = -100

Example = tuple[str, str]
"""What a model reads, and what it learns to write behind it."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Shares of the sources until this part of the course (0 to 1) is done."""

    until: float
    terse: float
    short: float
    full: float
    sentiment: float
    toxicity: float


class Lasts(Protocol):
    """Shares of some sources, as fields of their names, until this part of the course (0 to 1) is done."""

    @property
    def until(self) -> float:
        """The part of the course at which it ends."""


class Teaches(Protocol):
    """What there is to learn: sources by name, and their shares (fields of the same names) by stage."""

    @property
    def stages(self) -> Sequence[Lasts]:
        """In their order; the last is until 1."""

    def sources(self, seed: int | str) -> Mapping[str, Iterator[Example]]:
        """Endless examples by the name of their kind; the same seed gives the same ones."""


@dataclass(frozen=True, slots=True)
class Course:
    """A part of the critic's training: its stages, and how its texts are made.

    `prompted` shows the prompt in every domain. `jumbled` is the share of clauses of random words in the reviews and
    insults, `strange` the share of made-up words in jumbles.
    """

    stages: tuple[Stage, ...]
    prompted: bool
    jumbled: float
    strange: float

    def sources(self, seed: int | str) -> dict[str, Iterator[Example]]:
        """Endless examples of each kind: what the critic sees, and its gold reply."""
        strange, jumbled, train = self.strange, self.jumbled, Split.TRAIN
        items = {
            "terse": arithmetic_items(seed, train, steps=(1, 3), terse=1.0, right=0.15, kinds=SLIPS),
            "short": arithmetic_items(
                seed, train, steps=(1, 2), attacked=ATTACKED, right=0.25, strange=strange
            ),
            "full": arithmetic_items(
                seed, train, steps=(2, 5), attacked=ATTACKED, right=0.35, strange=strange
            ),
            "sentiment": sentiment_items(seed, train, attacked=ATTACKED, jumbled=jumbled, strange=strange),
            "toxicity": toxicity_items(seed, train, attacked=ATTACKED, jumbled=jumbled, strange=strange),
        }
        return {name: map(self._example, source) for name, source in items.items()}

    def _example(self, item: Item) -> Example:
        shown = render_prompted if self.prompted else render
        return shown(item.domain, item.prompt, item.completion), item.reply + END


FIRST = Course(
    stages=(
        Stage(0.15, terse=0.50, short=0.00, full=0.00, sentiment=0.28, toxicity=0.22),
        Stage(0.35, terse=0.25, short=0.25, full=0.00, sentiment=0.28, toxicity=0.22),
        Stage(0.60, terse=0.12, short=0.18, full=0.22, sentiment=0.28, toxicity=0.20),
        Stage(1.00, terse=0.06, short=0.10, full=0.42, sentiment=0.24, toxicity=0.18),
    ),
    prompted=True,
    jumbled=0.5,
    strange=0.0,
)
"""Learns to quote, to compute and to mark."""

SECOND = Course(
    stages=(Stage(1.00, terse=0.04, short=0.06, full=0.58, sentiment=0.17, toxicity=0.15),),
    prompted=False,
    jumbled=0.75,
    strange=0.35,
)
"""Learns that words it never saw mean nothing: after the first course it marked names in unfamiliar sentences."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids and next-token targets, padded on the right; only what is learned has targets."""

    ids_bt: Tensor
    targets_bt: Tensor


class Mixture:
    """The stream of batches; the same seed gives the same stream."""

    def __init__(
        self, tokenizer: Tokenizer, seed: int | str, tokens_per_batch: int, course: Teaches = FIRST
    ) -> None:
        self._tokenizer = tokenizer
        self._tokens = tokens_per_batch
        self._random = Random(seed)
        self._stages = course.stages
        self._sources = course.sources(seed)
        self._ready: list[list[tuple[list[int], list[int]]]] = []
        self._stage: Lasts = course.stages[0]

    def batch(self, progress: float) -> Batch:
        """The next batch at this part of the training."""
        stage = next(stage for stage in self._stages if progress <= stage.until)
        if stage is not self._stage:
            self._stage, self._ready = stage, []
        if not self._ready:
            self._ready = self._fill(stage)
        return self._pad(self._ready.pop())

    def _fill(self, stage: Lasts) -> list[list[tuple[list[int], list[int]]]]:
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

    def _encode(self, examples: list[Example]) -> list[tuple[list[int], list[int]]]:
        heads = self._tokenizer.encode_batch([head for head, _ in examples])
        replies = self._tokenizer.encode_batch([reply for _, reply in examples])
        return [(head.ids, reply.ids) for head, reply in zip(heads, replies, strict=True)]

    def _pad(self, examples: list[tuple[list[int], list[int]]]) -> Batch:
        longest = max(map(_length, examples)) - 1
        pad = token_id(self._tokenizer, PAD)
        ids = torch.full((len(examples), longest), pad)
        targets = torch.full((len(examples), longest), _IGNORED)
        for row, (head, reply) in enumerate(examples):
            known = torch.tensor([*head, *reply])
            ids[row, : len(known) - 1] = known[:-1]
            targets[row, len(head) - 1 : len(known) - 1] = known[len(head) :]
        return Batch(ids, targets)


def corpus_texts(seed: int, count: int) -> Iterator[str]:
    """Texts of all domains for the tokenizer, as the critic sees them; twice as many of those with more words."""
    for items, share in (
        (arithmetic_items(seed, Split.TRAIN, attacked=ATTACKED), 1),
        (sentiment_items(seed, Split.TRAIN, attacked=ATTACKED), 2),
        (toxicity_items(seed, Split.TRAIN, attacked=ATTACKED), 2),
    ):
        for item in islice(items, share * count):
            yield render_prompted(item.domain, item.prompt, item.completion) + item.reply


def _length(example: tuple[list[int], list[int]]) -> int:
    return len(example[0]) + len(example[1])
