"""Reads data sets row by row: JSONL and Parquet, in bounded memory."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from .stopping import Stopped

JSONL: Final = (".jsonl", ".ndjson")
PARQUET: Final = (".parquet", ".pq")
_BLOCK_BYTES: Final = 1 << 20
_ROWS_READ: Final = 256
_DIGEST_BYTES: Final = 16
_ENCODER: Final = msgspec.json.Encoder(enc_hook=str)  # instants and durations to the nanosecond, and the like


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its place, what it is known by, its values as Python's, and its line where it came as one."""

    index: int
    digest: str
    values: Mapping[str, Any]
    line: bytes | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a data set once it has been read through: its digest, rows, and column names in order."""

    sha256: str
    rows: int
    columns: tuple[str, ...]


class Table(Protocol):
    """A data set that can be read again and again."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    def inspect(self) -> Facts:
        """Read everything once; raises ``Stopped`` where it is no data set."""
        ...

    def rows(self, start: int = 0) -> Iterator[Row]:
        """The rows from ``start`` on."""
        ...


def open_table(path: Path) -> Table:
    """The data set in a file, by its suffix; raises ``Stopped`` for one that nobody reads."""
    if not path.is_file():
        raise Stopped(f"there is no file {path}")
    if is_parquet(path):
        return ParquetTable(path)
    return JsonlTable(path)


def is_parquet(path: Path) -> bool:
    """Whether the suffix says Parquet; raises ``Stopped`` unless it says that or JSONL."""
    if path.suffix in PARQUET:
        return True
    if path.suffix in JSONL:
        return False
    raise Stopped(f"{path}: the name must end in {', '.join((*JSONL, *PARQUET))}")


@dataclass(frozen=True, slots=True)
class JsonlTable:
    """An object a line; blank lines are no rows."""

    path: Path

    def inspect(self) -> Facts:
        """Read everything once, and see that every line is an object."""
        digest, rows, columns = hashlib.sha256(), 0, {}
        decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                digest.update(line)
                if not line.strip():
                    continue
                try:
                    columns.update(dict.fromkeys(_names(line, decode)))
                except ValueError as error:
                    raise Stopped(f"{self.path}, line {number}, is no JSON object: {error}") from error
                rows += 1
        return Facts(digest.hexdigest(), rows, tuple(columns))

    def rows(self, start: int = 0) -> Iterator[Row]:
        """The rows from ``start`` on; values stay undecoded until they are looked at."""
        index = 0
        with self.path.open("rb") as file:
            for line in file:
                stripped = line.strip()
                if not stripped:
                    continue
                if index >= start:
                    yield Row(index, digest_of(stripped), _Line(stripped), stripped)
                index += 1


def _leniently(line: bytes, decode: Callable[[bytes], Any]) -> Any:
    """What is in a line; also where Python wrote what JSON does not have: NaN, and halves of characters."""
    try:
        return decode(line)
    except ValueError:
        return json.loads(line)


def _names(line: bytes, decode: Callable[[bytes], Any]) -> Mapping[str, Any]:
    values = _leniently(line, decode)
    if not isinstance(values, Mapping):
        raise ValueError("it is another value")
    return values


class _Line(Mapping[str, Any]):
    """The object in a line, decoded when it is first looked at."""

    __slots__ = ("_line", "_values")

    def __init__(self, line: bytes) -> None:
        self._line = line
        self._values: dict[str, Any] | None = None

    def _decoded(self) -> dict[str, Any]:
        if self._values is None:
            self._values = _leniently(self._line, msgspec.json.decode)
        return self._values

    def __getitem__(self, name: str) -> Any:
        return self._decoded()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._decoded())

    def __len__(self) -> int:
        return len(self._decoded())


@dataclass(frozen=True, slots=True)
class ParquetTable:
    """Rows of a Parquet file, a few hundred at a time whatever its row groups are."""

    path: Path
    _arrow: Any = field(default_factory=lambda: arrow_parquet())

    def inspect(self) -> Facts:
        """Digest the file; its footer tells the rest."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
        with self._open() as parquet:
            return Facts(digest.hexdigest(), parquet.metadata.num_rows, tuple(parquet.schema_arrow.names))

    def rows(self, start: int = 0) -> Iterator[Row]:
        """The rows from ``start`` on; row groups that lie before it are not read."""
        with self._open() as parquet:
            sizes = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
            index = group = 0
            while group < len(sizes) and index + sizes[group] <= start:
                index += sizes[group]
                group += 1
            groups = list(range(group, len(sizes)))
            for batch in parquet.iter_batches(_ROWS_READ, row_groups=groups) if groups else ():
                for values in batch.to_pylist():
                    if index >= start:
                        yield Row(index, digest_of(as_json(values)), values)
                    index += 1

    def schema(self) -> Any:
        """Its Arrow schema."""
        with self._open() as parquet:
            return parquet.schema_arrow

    def _open(self) -> Any:
        try:
            return self._arrow.ParquetFile(self.path)
        except ValueError as error:  # ArrowInvalid is one
            raise Stopped(f"{self.path} is no Parquet file: {error}") from error


def arrow_parquet() -> Any:
    """``pyarrow.parquet``, which JSONL does not need."""
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise Stopped(f"{error}: Parquet needs `pip install 'assay[annotate]'`") from error
    return pyarrow.parquet


def as_json(values: Mapping[str, Any]) -> bytes:
    """Values of a row as JSON, those of Arrow's types included that JSON has no word for."""
    return _ENCODER.encode(values)


def digest_of(content: bytes) -> str:
    """What a row is known by."""
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


def standing_apart(rows: Iterator[Row], group_of: Callable[[Row], object]) -> tuple[int, int] | None:
    """Two rows of one group with another group between them, None where all groups stand together.

    Holds one number per group.
    """
    last_of: dict[int, int] = {}
    previous: object = None
    for row in rows:
        group = group_of(row)
        key = hash(group)
        if group != previous and key in last_of:
            return last_of[key], row.index
        last_of[key] = row.index
        previous = group
    return None


def in_chunks(
    rows: Iterator[Row], size: int, group_of: Callable[[Row], object] | None
) -> Iterator[Sequence[Row]]:
    """So many rows at a time, and more where a group would be cut in two."""
    chunk: list[Row] = []
    for row in rows:
        full = len(chunk) >= size
        if full and (group_of is None or group_of(chunk[-1]) != group_of(row)):
            yield chunk
            chunk = []
        chunk.append(row)
    if chunk:
        yield chunk
