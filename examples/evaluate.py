"""``make evaluate``: span F1 of the embedded critic on held-out generated items, through the service.

Exact F1 counts a span as found when its start, end and label are those of the planted one; overlap F1 counts
characters. A rollout that fails has no spans, so a failure costs recall.
"""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

import assay
from assay_training.corpora.items import Domain, GoldSpan, Item, Label
from assay_training.evaluate import Figures, held_out, tabulate

from .demo import service

ITEMS = 1000
PER_CALL = 250
# What the service adds to the planted error itself: the steps behind it.
OWN_LABELS = {label.value for label in Label}


def judged(client: assay.Client, items: Sequence[Item]) -> list[tuple[Item, list[GoldSpan]]]:
    """Every item with the spans that the service marked in it."""
    pairs = []
    for start in range(0, len(items), PER_CALL):
        batch = items[start : start + PER_CALL]
        rollouts = [{"prompt": item.prompt, "completion": {"text": item.completion}} for item in batch]
        answer = client.score_token(rollouts, task=batch[0].domain.value, timeout_s=600)
        pairs += [(item, spans(result)) for item, result in zip(batch, answer.results, strict=True)]
    return pairs


def spans(result: assay.Scored | assay.Failed) -> list[GoldSpan]:
    """The places the critic marked, by its own labels."""
    if isinstance(result, assay.Failed):
        return []
    return [
        GoldSpan(span.start, span.end, Label(span.label))
        for span in result.spans
        if span.start is not None and span.end is not None and span.label in OWN_LABELS
    ]


def table(title: str, figures: dict[str, Figures]) -> Table:
    """One row per kind of item."""
    shown = Table(title=title)
    for name in ("kind", "items", "precision", "recall", "exact F1", "overlap F1", "false alarms"):
        shown.add_column(name, justify="left" if name == "kind" else "right")
    for kind, row in figures.items():
        shares = (row.precision, row.recall, row.exact_f1, row.overlap_f1, row.false_alarms)
        shown.add_row(kind, str(row.items), *(f"{share:.3f}" for share in shares))
    return shown


def main() -> None:
    """Print the figures of every domain."""
    console = Console(width=100)
    with service() as url, assay.Client(url) as client:
        for domain in Domain:
            console.print(table(domain.value, tabulate(judged(client, held_out(domain, ITEMS)))))


if __name__ == "__main__":
    main()
