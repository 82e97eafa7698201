"""Parquet in and out, and from one format to the other."""

import datetime
import decimal
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assayd.offline.finishing import Finished
from assayd.offline.stopping import Stopped

Run = Callable[..., Finished]
NUMERIC = ("rewards", "intrinsic", "offsets", "token_ids", "sequence_score")


@pytest.fixture
def options(tmp_path: Path) -> Path:
    """Segments without a normalizer."""
    path = tmp_path / "options.toml"
    path.write_text('[segment.options]\nnormalizer = "none"\n')
    return path


def test_the_four_roads_say_the_same(
    run_annotate: Run, service_url: str, tmp_path: Path, options: Path, lines: Any
) -> None:
    """JSONL or Parquet in, JSONL or Parquet out: the same input columns, the same rewards to the last bit."""
    rows = lines.make(50)
    sources = [lines.write(tmp_path / "in.jsonl", rows), tmp_path / "in.parquet"]
    pq.write_table(pa.Table.from_pylist(rows), sources[1], row_group_size=7)
    made = []
    for source in sources:
        for suffix in ("jsonl", "parquet"):
            out = tmp_path / f"{source.suffix[1:]}-out.{suffix}"
            run_annotate(source, out, "segment", url=service_url, options=options)
            made.append(lines.read(out) if suffix == "jsonl" else pq.read_table(out).to_pylist())
    first, *others = made
    for other in others:
        for one, two, row in zip(first, other, rows, strict=True):
            assert {name: two[name] for name in row} == row
            for name in NUMERIC:
                assert one["assay_segment"].get(name) == two["assay_segment"].get(name), name
    typed = json.loads(made[1][0]["assay_segment"]["rest"])
    assert typed["segments"] == first[0]["assay_segment"]["segments"]


def test_input_columns_keep_their_types(run_annotate: Run, stub_url: str, tmp_path: Path) -> None:
    """Whatever they are; the annotations come behind them, typed, row group by row group."""
    schema = pa.schema(
        [
            ("prompt", pa.large_string()),
            ("completion", pa.dictionary(pa.int32(), pa.string())),
            ("at", pa.timestamp("ms", tz="UTC")),
            ("blob", pa.binary()),
            ("small", pa.int8()),
            ("price", pa.decimal128(10, 2)),
            ("exactly", pa.timestamp("ns")),
            ("took", pa.duration("ns")),
            ("notes", pa.map_(pa.string(), pa.int32())),
        ]
    )
    moment = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    rows = [
        {
            "prompt": "p",
            "completion": f"{index} is",
            "at": moment,
            "blob": b"\xff",
            "small": index % 100,
            "price": decimal.Decimal("1.25"),
            "exactly": 1_767_312_000_000_000_001,
            "took": 3_000_000_001,
            "notes": [("a", 1)],
        }
        for index in range(2500)
    ]
    source, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, source)
    run_annotate(source, out, "token", url=stub_url, batch=500)
    written = pq.ParquetFile(out)
    assert written.schema_arrow.names == [*schema.names, "assay_token"]
    assert [written.schema_arrow.field(name).type for name in schema.names] == schema.types
    assert written.num_row_groups == 3
    assert written.read().drop(["assay_token"]).to_pylist() == table.to_pylist()
    as_lines = tmp_path / "out.jsonl"
    run_annotate(source, as_lines, "token", url=stub_url, batch=500)
    last = json.loads(as_lines.read_text().splitlines()[-1])
    assert (last["small"], last["at"], last["assay_token"]["status"]) == (99, "2026-01-02T00:00:00Z", "ok")


def test_a_parquet_run_goes_on(
    run_annotate: Run, stub: Any, stub_url: str, tmp_path: Path, lines: Any
) -> None:
    """In the middle of a row group."""
    source, out, whole = (tmp_path / f"{name}.parquet" for name in ("in", "out", "whole"))
    pq.write_table(pa.Table.from_pylist(lines.make(30)), source, row_group_size=8)
    run_annotate(source, whole, "token", url=stub_url)
    run_annotate(source, out, "token", url=stub_url)
    journal = out.with_name("out.parquet.assay") / "journal"
    journal.write_bytes(journal.read_bytes()[: journal.stat().st_size // 2])
    stub.calls.clear()
    run_annotate(source, out, "token", url=stub_url)
    assert 0 < sum(len(call["rollouts"]) for call in stub.calls) < 30
    assert pq.read_table(out).equals(pq.read_table(whole))


def test_columns_without_one_type_are_refused_for_parquet_alone(
    run_annotate: Run, stub_url: str, tmp_path: Path, lines: Any
) -> None:
    """Rows with different columns are no such thing: what is missing is null. Whole numbers may become floats."""
    rows = lines.make(3)
    rows[1]["weight"], rows[2]["weight"], rows[2]["note"] = 1, 2.5, "seen"
    out = tmp_path / "out.parquet"
    run_annotate(lines.write(tmp_path / "in.jsonl", rows), out, "token", url=stub_url)
    assert pq.read_table(out).column("weight").to_pylist() == [None, 1.0, 2.5]
    rows[1]["note"] = ["not", "a", "text"]
    mixed = lines.write(tmp_path / "mixed.jsonl", rows)
    with pytest.raises(Stopped, match="write JSONL"):
        run_annotate(mixed, tmp_path / "mixed.parquet", "token", url=stub_url)
    run_annotate(mixed, tmp_path / "mixed-out.jsonl", "token", url=stub_url)


def test_what_is_no_parquet_is_refused(run_annotate: Run, stub_url: str, tmp_path: Path) -> None:
    """With its name."""
    source = tmp_path / "in.parquet"
    source.write_text("PAR0")
    with pytest.raises(Stopped, match="no Parquet file"):
        run_annotate(source, tmp_path / "out.parquet", "token", url=stub_url)
