"""``make evaluate``, second part: the embedded segment model on held-out generated pairs, through the service.

Of each pair one completion has one planted error more than the other. Printed are the shares of pairs that are ranked
right, and of errors whose segment scores below the clean ones.
"""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

import assay
from assay_training.pocket_pairs import DOMAINS, held_out_pairs
from assay_training.segment_figures import Judged, Texts, segment_figures

from .demo import service

PAIRS = 1000
PER_CALL = 250


def judged(client: assay.Client, texts: Texts) -> Sequence[Judged]:
    """The segments of every completion as the service cut and scored them."""
    found = []
    for start in range(0, len(texts), PER_CALL):
        rollouts = [
            {"prompt": prompt, "completion": {"text": completion}}
            for prompt, completion in texts[start : start + PER_CALL]
        ]
        for result in client.score_segment(rollouts, timeout_s=600).results:
            if isinstance(result, assay.Failed):
                raise SystemExit(f"a held-out completion could not be judged: {result.detail}")
            places = tuple((segment.start, segment.end) for segment in result.segments)
            found.append(Judged(places, tuple(segment.raw for segment in result.segments)))
    return found


def main() -> None:
    """Print the figures of both domains."""
    table = Table(title=f"{PAIRS} held-out pairs a domain")
    for name in ("figure", *(domain.value for domain in DOMAINS)):
        table.add_column(name, justify="left" if name == "figure" else "right")
    with service() as url, assay.Client(url) as client:
        figures = [
            segment_figures(lambda texts: judged(client, texts), held_out_pairs(domain, PAIRS))
            for domain in DOMAINS
        ]
    for name in dict.fromkeys(key for row in figures for key in row):
        table.add_row(name, *(f"{row[name]:.3f}" if name in row else "" for row in figures))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
