"""From the journal to the output, its exports and its summary: each file whole or not there, at any instant."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from .columns import Columns, Unreadable
from .exports import EXPORTS, Annotated
from .journal import Entry, read_entries, replacing, write_whole
from .kinds import KINDS, Kind, is_ok
from .plan import Plan
from .sketch import Sketch
from .stopping import Stopped
from .summary import OfKind, Summary
from .tables import Row, Table, as_json, is_parquet
from .writing import RowGroups, Values, Writes, arrow_type, input_schema, writer_of

SUMMARY_SUFFIX: Final = ".summary.json"
_REST: Final = "rest"
_BY_ADVANTAGE: Final = "good_priority"
_RANDOM: Final = "good_random"
_NO_SAMPLING: Final = "none"


@dataclass(frozen=True, slots=True)
class Finished:
    """What a run came to, and the rows of every export."""

    summary: Summary
    exported: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Weighing:
    """Sampling weights over the whole data set (A-LoL, papers.md 4.3): in proportion to max(A, 0), summing to 1."""

    sampling: str
    judged: int
    kept: int
    total: float

    def weight(self, advantage: float) -> float | None:
        """Of one row; 0 where nothing is kept (A6), None where no weights were asked for."""
        if self.sampling == _NO_SAMPLING:
            return None
        worth = _worth(self.sampling, advantage)
        return worth / self.total if self.total > 0 else 0.0

    def values(self) -> dict[str, Any]:
        """As plain values, named as on the wire."""
        return {
            "positive_ratio": self.kept / self.judged if self.judged else None,
            "n_keep": self.kept if self.judged else None,
            "weight_sum": self.total if self.judged and self.sampling != _NO_SAMPLING else None,
        }


@dataclass(frozen=True, slots=True)
class Finisher:
    """Writes what a complete journal says about ``table``."""

    plan: Plan
    table: Table
    columns: Columns
    journal: Path
    recipes: Mapping[str, Mapping[str, Any]]
    prefix: str

    def finish(self, out: Path, exports: Mapping[str, Path]) -> Finished:
        """Write ``out``, then the exports, then the summary; raises ``Stopped`` where rows do not fit the journal."""
        weighing = self._weigh() if "sequence" in self.plan.asked else None
        kinds = [OfKind(kind.name) for kind in self.plan.kinds]
        summary = Summary(kinds, None if weighing is None else weighing.values())
        exported = dict.fromkeys(exports, 0)
        with ExitStack() as stack:
            files = {
                name: stack.enter_context(writer_of(path, EXPORTS[name].shape))
                for name, path in exports.items()
            }
            write = stack.enter_context(self._output(out))
            for row, entry in self._rows():
                results = entry.results if weighing is None else _weighed(entry.results, weighing)
                write(row, results)
                annotated = self._annotated(row, results)
                summary.add(annotated)
                for name, file in files.items():
                    for made in EXPORTS[name].write(annotated):
                        file(made)
                        exported[name] += 1
        told = {**summary.values(), "exports": exported, "recipes": self.recipes}
        write_whole(summary_path(out), msgspec.json.format(msgspec.json.encode(told)))
        return Finished(summary, exported)

    def _rows(self) -> Iterator[tuple[Row, Entry]]:
        for row, entry in zip(self.table.rows(), read_entries(self.journal), strict=True):
            if row.digest != entry.digest:
                raise Stopped(
                    f"row {row.index} of {self.table.path} is not the one that was judged: has it changed?"
                )
            yield row, entry

    def _weigh(self) -> Weighing:
        sampling = (self.plan.asked["sequence"].get("options") or {}).get("sampling") or _BY_ADVANTAGE
        total, judged, kept = Sketch(), 0, 0
        for entry in read_entries(self.journal):
            advantage = entry.results["sequence"].get("advantage")
            if advantage is not None:
                judged += 1
                kept += advantage > 0
                total.add(_worth(sampling, advantage))
        return Weighing(sampling, judged, kept, total.sum)

    def _annotated(self, row: Row, results: Mapping[str, Mapping[str, Any]]) -> Annotated:
        try:
            rollout = self.columns.rollout(row.values)
        except Unreadable:
            rollout = None
        return Annotated(row.index, row.values, rollout, results, self.columns)

    @contextmanager
    def _output(self, out: Path) -> Iterator[Any]:
        if not is_parquet(out):
            with replacing(out) as file:
                yield _LineWriter(file.write, self.prefix)
            return
        schema = input_schema(self.table)
        for kind in self.plan.kinds:
            schema = schema.append(_column(kind, self.prefix))
        with replacing(out) as file:
            groups = RowGroups(file, None, schema)
            yield _RowWriter(groups, self.plan.kinds, self.prefix)
            groups.close()


class _LineWriter:
    """An input row as it came, to the byte, with one more field per annotation."""

    def __init__(self, write: Callable[[bytes], object], prefix: str) -> None:
        self._write = write
        self._prefix = prefix
        self._encode = msgspec.json.Encoder().encode

    def __call__(self, row: Row, results: Mapping[str, Mapping[str, Any]]) -> None:
        before = as_json(row.values) if row.line is None else row.line
        added = self._encode({self._prefix + name: result for name, result in results.items()})
        head = before[:-1].rstrip()
        self._write(b"".join((head, b"" if head == b"{" else b", ", added[1:], b"\n")))


class _RowWriter:
    """The same in Parquet: numbers in columns of their own type, nested reasons as JSON in ``rest``."""

    def __init__(self, groups: Writes, kinds: Sequence[Kind], prefix: str) -> None:
        self._groups = groups
        self._kinds = kinds
        self._prefix = prefix
        self._encode = msgspec.json.Encoder().encode

    def __call__(self, row: Row, results: Mapping[str, Mapping[str, Any]]) -> None:
        added = {self._prefix + kind.name: self._typed(kind, results[kind.name]) for kind in self._kinds}
        self._groups({**row.values, **added})

    def _typed(self, kind: Kind, result: Values) -> Values:
        typed = {name: result.get(name) for name in kind.fields}
        rest = {name: value for name, value in result.items() if name not in kind.fields}
        return {**typed, _REST: self._encode(rest).decode() if rest else None}


def summary_path(out: Path) -> Path:
    """Where the summary of ``out`` stands."""
    return out.with_name(out.stem + SUMMARY_SUFFIX)


def taken(prefix: str, columns: Sequence[str]) -> list[str]:
    """Columns of the input that the annotations would write over."""
    return [prefix + name for name in KINDS if prefix + name in columns]


def _column(kind: Kind, prefix: str) -> Any:
    import pyarrow

    return pyarrow.field(prefix + kind.name, arrow_type({**kind.fields, _REST: "s"}))


def _worth(sampling: str, advantage: float) -> float:
    return float(advantage > 0) if sampling == _RANDOM else max(advantage, 0.0)


def _weighed(results: Mapping[str, Mapping[str, Any]], weighing: Weighing) -> dict[str, Mapping[str, Any]]:
    sequence = results["sequence"]
    if not is_ok(sequence) or sequence.get("advantage") is None:
        return dict(results)
    return {**results, "sequence": {**sequence, "sampling_weight": weighing.weight(sequence["advantage"])}}
