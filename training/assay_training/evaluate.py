"""Measure a critic on generated items: span precision, recall and F1 per domain and per kind of planted error.

Exact F1 counts a predicted span as right when its start, end and label are those of a gold span (micro-averaged over
all spans of all items). Overlap F1 counts characters: those marked by both with one label, against those marked by
either. A false alarm is a clean item (kind `none`) on which anything is marked. The caller brings the critic as a
callable from item to spans, sync or async: the model directly, or a service over HTTP.
"""

import asyncio
import inspect
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice

from .corpora.arithmetic import arithmetic_items
from .corpora.items import Domain, GoldSpan, Item, Split
from .corpora.sentiment import sentiment_items
from .corpora.toxicity import toxicity_items

Spans = Sequence[GoldSpan]
Critic = Callable[[Item], Spans | Awaitable[Spans]]
HELD_OUT_SEED = 20_000
_SOURCES: dict[Domain, Callable[..., Iterator[Item]]] = {
    Domain.ARITHMETIC: arithmetic_items,
    Domain.SENTIMENT: sentiment_items,
    Domain.TOXICITY: toxicity_items,
}


@dataclass(frozen=True, slots=True)
class Figures:
    """Shares between 0 and 1 over `items` items; `false_alarms` over the clean ones among them."""

    items: int
    precision: float
    recall: float
    exact_f1: float
    overlap_f1: float
    false_alarms: float


@dataclass(slots=True)
class _Counts:
    items: int = 0
    clean: int = 0
    alarms: int = 0
    gold: int = 0
    marked: int = 0
    exact: int = 0
    gold_characters: int = 0
    marked_characters: int = 0
    shared_characters: int = 0

    def add(self, item: Item, spans: Spans) -> None:
        gold, marked = set(item.spans), set(spans)
        gold_places, marked_places = _places(gold), _places(marked)
        self.items += 1
        self.clean += not gold
        self.alarms += not gold and bool(marked)
        self.gold += len(gold)
        self.marked += len(marked)
        self.exact += len(gold & marked)
        self.gold_characters += len(gold_places)
        self.marked_characters += len(marked_places)
        self.shared_characters += len(gold_places & marked_places)

    def figures(self) -> Figures:
        return Figures(
            items=self.items,
            precision=_share(self.exact, self.marked),
            recall=_share(self.exact, self.gold),
            exact_f1=_share(2 * self.exact, self.gold + self.marked),
            overlap_f1=_share(2 * self.shared_characters, self.gold_characters + self.marked_characters),
            false_alarms=self.alarms / self.clean if self.clean else 0.0,
        )


def held_out(
    domain: Domain, count: int = 1000, *, seed: int = HELD_OUT_SEED, attacked: float = 0.0
) -> list[Item]:
    """Items of the held-out split: names, objects and templates that training never saw."""
    return list(islice(_SOURCES[domain](seed, Split.HELD_OUT, attacked=attacked), count))


async def measure(critic: Critic, items: Iterable[Item], *, at_once: int = 64) -> dict[str, Figures]:
    """The figures of all items under `all`, and of each kind of item under its name."""
    limit = asyncio.Semaphore(at_once)

    async def judge(item: Item) -> tuple[Item, Spans]:
        async with limit:
            spans = critic(item)
            return item, (await spans if inspect.isawaitable(spans) else spans)

    return tabulate(await asyncio.gather(*map(judge, items)))


def tabulate(judged: Iterable[tuple[Item, Spans]]) -> dict[str, Figures]:
    """The figures of spans already at hand, keyed like those of `measure`."""
    counts: defaultdict[str, _Counts] = defaultdict(_Counts)
    for item, spans in judged:
        for key in ("all", item.kind):
            counts[key].add(item, spans)
    return {key: count.figures() for key, count in sorted(counts.items())}


def as_rows(figures: dict[str, Figures]) -> dict[str, dict[str, float]]:
    """Rounded numbers for a report or a model card."""
    return {
        key: {name: round(value, 4) for name, value in asdict(row).items()} for key, row in figures.items()
    }


def _places(spans: Iterable[GoldSpan]) -> set[tuple[int, str]]:
    return {(place, span.label) for span in spans for place in range(span.start, span.end)}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
