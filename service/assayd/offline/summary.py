"""What a run came to: counts, failures by kind, rewards with their histogram, and what to look at before training."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .exports import Annotated
from .kinds import is_ok
from .sketch import Correlation, Sketch

_BARS: Final = 12
_BAR_WIDTH: Final = 40
_NUMBERS: Final[Mapping[str, tuple[str, ...]]] = {
    "rewrite": ("edit_ratio",),
    "sequence": ("reward", "value", "advantage"),
}
_SHARES: Final[Mapping[str, tuple[str, ...]]] = {"rewrite": ("verified", "correct"), "sequence": ("keep",)}


@dataclass
class OfKind:
    """One annotation, over all rows."""

    name: str
    ok: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    numbers: dict[str, Sketch] = field(default_factory=dict)
    shares: dict[str, Counter[str]] = field(default_factory=dict)
    length: Correlation = field(default_factory=Correlation)

    def add(self, row: Annotated) -> None:
        """Count one row."""
        result = row.results[self.name]
        if not is_ok(result):
            self.failures[result["failure"]["kind"]] += 1
            return
        self.ok += 1
        rewards = result.get("rewards")
        if rewards is not None:
            counted: Counter[float] = Counter(rewards)
            for reward, times in counted.items():
                self._number("token_reward", reward, times)
            self._number("completion_reward", sum(rewards))
            self._number("tokens", len(rewards))
            self.length.add(len(rewards), sum(rewards))
        for name in _NUMBERS.get(self.name, ()):
            if result.get(name) is not None:
                self._number(name, result[name])
        if self.name == "sequence":
            self.length.add(len(row.text or ""), result["reward"])
        self._share_out(row, result)

    def _share_out(self, row: Annotated, result: Mapping[str, Any]) -> None:
        for name in _SHARES.get(self.name, ()):
            self._count(name, result.get(name))
        if self.name == "rewrite":
            self._count("copied", result["rewritten"] == row.text)
            for made in result.get("training_rows") or ():
                self._count("copy_rows", made["task"] == "copy")

    def _count(self, name: str, value: bool | None) -> None:
        told = {True: "true", False: "false", None: "unknown"}[value]
        self.shares.setdefault(name, Counter())[told] += 1

    def _number(self, name: str, value: float, times: int = 1) -> None:
        if name not in self.numbers:
            self.numbers[name] = Sketch()
        self.numbers[name].add(value, times)

    def summary(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "ok": self.ok,
            "failed": self.failures.total(),
            "failures": dict(self.failures.most_common()),
            **{name: sketch.summary() for name, sketch in self.numbers.items()},
            **({"reward_length_correlation": self.length.value} if self.length.count else {}),
            **{f"{name}_share": _share(counts) for name, counts in self.shares.items()},
        }


@dataclass
class Summary:
    """The whole run; ``sequence`` is what holds for the data set where sequences were judged."""

    kinds: list[OfKind]
    sequence: Mapping[str, Any] | None = None
    rows: int = 0

    def add(self, row: Annotated) -> None:
        """Count one row."""
        self.rows += 1
        for kind in self.kinds:
            kind.add(row)

    @property
    def failed(self) -> int:
        """Annotations that could not be made."""
        return sum(kind.failures.total() for kind in self.kinds)

    def values(self) -> dict[str, Any]:
        """As plain values."""
        kinds = {kind.name: kind.summary() for kind in self.kinds}
        if self.sequence is not None:
            kinds["sequence"] |= self.sequence
        return {"rows": self.rows, "annotations": kinds}

    def print(self, console: Console) -> None:
        """For people: a table of numbers and a histogram for each annotation."""
        for kind in self.kinds:
            console.print(_table(kind, self.sequence if kind.name == "sequence" else None))
            for name in ("token_reward", "completion_reward", "reward", "advantage", "edit_ratio"):
                if name in kind.numbers and kind.numbers[name].low < kind.numbers[name].high:
                    _print_histogram(console, f"{kind.name}: {name}", kind.numbers[name])


def _table(kind: OfKind, of_data_set: Mapping[str, Any] | None) -> Table:
    failures = ", ".join(f"{count:,} {name}" for name, count in kind.failures.most_common())
    table = Table(
        title=f"{kind.name}: {kind.ok:,} judged, {kind.failures.total():,} failed{failures and f' ({failures})'}",
        title_justify="left",
        # Numbers are not cut off where the terminal has 80 columns, or the output is a file.
        box=None,
        padding=(0, 1, 0, 0),
    )
    for heading in ("", "count", "mean", "min", "5 %", "median", "95 %", "max"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for name, sketch in kind.numbers.items():
        numbers = (sketch.mean, sketch.low, *map(sketch.quantile, (0.05, 0.5, 0.95)), sketch.high)
        table.add_row(name, f"{sketch.count:,}", *(_short(number) for number in numbers))
    for name, counts in kind.shares.items():
        share = _share(counts)
        table.add_row(f"{name}, share", f"{counts.total():,}", "" if share is None else f"{share:.3f}")
    if kind.length.value is not None:
        table.add_row("length correlation", f"{kind.length.count:,}", f"{kind.length.value:.3f}")
    for name, value in (of_data_set or {}).items():
        table.add_row(name, "", "" if value is None else f"{value:,.6g}")
    return table


def _print_histogram(console: Console, title: str, sketch: Sketch) -> None:
    bars = sketch.histogram(_BARS)
    most = max(count for _, _, count in bars)
    console.print(Text(title, style="bold"))
    for low, high, count in bars:
        width = -(-count * _BAR_WIDTH // most)
        style = "green" if low >= 0 else "red" if high <= 0 else "cyan"
        bar = Text("█" * width, style=style) + Text(" " * (_BAR_WIDTH - width))
        console.print(Text(f"{_short(low):>9} … {_short(high):>9} ") + bar + Text(f" {count:,}"))


def _short(number: float | None) -> str:
    return "" if number is None else f"{round(number, 4) + 0:.4g}"


def _share(counts: Counter[str]) -> float | None:
    """Of those that could be told."""
    told = counts["true"] + counts["false"]
    return counts["true"] / told if told else None
