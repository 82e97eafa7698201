"""Writes rows as JSONL or Parquet: whole files or none, in bounded memory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import msgspec

from .journal import replacing
from .kinds import Shape
from .stopping import Stopped
from .tables import Table, arrow_parquet, is_parquet

ROWS_IN_GROUP: Final = 1024
Values = Mapping[str, Any]


class Writes(Protocol):
    """A file that takes rows."""

    def __call__(self, row: Values) -> None:
        """Add a row."""
        ...


@contextmanager
def writer_of(path: Path, shape: Shape | None = None) -> Iterator[Writes]:
    """A file of rows of one ``shape``; it is there when the block ends well.

    Parquet needs the shape; a shape whose ``None`` names a column is filled by the first row (text or turns).
    """
    if not is_parquet(path):
        with replacing(path) as file:
            yield _Lines(file)
        return
    with replacing(path) as file:
        groups = RowGroups(file, None if shape is None else dict(shape))
        yield groups
        groups.close()


class _Lines:
    """JSONL."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._encoder = msgspec.json.Encoder()

    def __call__(self, row: Values) -> None:
        self._file.write(self._encoder.encode(row))
        self._file.write(b"\n")


class RowGroups:
    """Parquet, a thousand rows a row group."""

    def __init__(self, file: BinaryIO, shape: Mapping[str, Any] | None, schema: Any = None) -> None:
        self._arrow = arrow_parquet()
        self._file = file
        self._shape = shape
        self._schema = schema
        self._writer: Any = None
        self._rows: list[Values] = []

    def __call__(self, row: Values) -> None:
        """Add a row."""
        self._rows.append(row)
        if len(self._rows) == ROWS_IN_GROUP:
            self._flush()

    def close(self) -> None:
        """Write what is left and the footer."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow

        if self._schema is None:
            assert self._shape is not None  # noqa: S101 - one of them is given
            self._schema = schema_of(self._shape, self._rows)
        if self._writer is None:
            self._writer = self._arrow.ParquetWriter(self._file, self._schema, compression="zstd")
        if not self._rows:
            return
        try:
            table = pyarrow.Table.from_pylist(self._rows, schema=self._schema)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, UnicodeError) as error:
            raise Stopped(
                f"a column holds values of several types, which Parquet cannot: write JSONL ({error})"
            ) from error
        self._writer.write_table(table)
        self._rows = []


def schema_of(shape: Shape, rows: Sequence[Values] = ()) -> Any:
    """The Arrow schema of a shape; a column without a type takes that of the first row that has it."""
    import pyarrow

    fields = []
    for name, kind in shape.items():
        if kind is None:
            sample = next((row[name] for row in rows if row.get(name) is not None), "")
            kind = "s" if isinstance(sample, str) else [{"role": "s", "content": "s"}]
        fields.append(pyarrow.field(name, arrow_type(kind)))
    return pyarrow.schema(fields)


def arrow_type(shape: Any) -> Any:
    """The Arrow type of ``s``, ``f``, ``i``, ``b``, a list of one of them, or a mapping."""
    import pyarrow

    match shape:
        case list():
            return pyarrow.list_(arrow_type(shape[0]))
        case Mapping():
            return pyarrow.struct([pyarrow.field(name, arrow_type(part)) for name, part in shape.items()])
        case _:
            scalars = {"s": "string", "f": "float64", "i": "int64", "b": "bool_"}
            return getattr(pyarrow, scalars[shape])()


def input_schema(table: Table) -> Any:
    """The Arrow schema that holds every row of ``table``; raises ``Stopped`` where a column has no one type."""
    import pyarrow

    known = getattr(table, "schema", None)
    if known is not None:
        return known()
    schema = pyarrow.schema([])
    rows = table.rows()
    while batch := [dict(row.values) for row in islice(rows, ROWS_IN_GROUP)]:
        # from_pylist takes its columns from the first row alone
        names = dict.fromkeys(name for values in batch for name in values)
        try:
            seen = pyarrow.schema(
                [pyarrow.field(name, pyarrow.array([row.get(name) for row in batch]).type) for name in names]
            )
            schema = pyarrow.unify_schemas([schema, seen], promote_options="permissive")
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
            raise Stopped(
                f"{table.path} has columns of several types, which Parquet cannot hold: write JSONL ({error})"
            ) from error
    return schema
