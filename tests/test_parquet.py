"""Parquet as it was measured to be best: what a file's own metadata say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finkbridge import disk, parquet
from finkbridge.parquet import Style
from finkbridge.tables import PACKETS, Summary

STYLE = Style(row_group_rows=10, dictionary=("band",), bloom=("object_id",))
TABLE = pa.table(
    {
        "object_id": [f"o{i}" for i in range(25)],
        "band": ["g"] * 25,
        "mag": pa.array([float(i) for i in range(25)], pa.float32()),
        "nested": [{"flux": [1.0, 2.0], "name": "x"}] * 25,
        "scores": pa.array([[("a", 1.0)]] * 25, pa.map_(pa.string(), pa.float64())),
    }
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.parquet"


def columns(path: Path) -> dict[str, pq.ColumnChunkMetaData]:
    group = pq.read_metadata(path).row_group(0)
    return {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}


def test_written_is_what_it_says(path: Path) -> None:
    written = parquet.write([TABLE], TABLE.schema, path, STYLE, 25)
    assert (written.rows, written.bytes) == (25, path.stat().st_size)
    assert written.checksum == disk.checksum(path)
    assert pq.ParquetFile(path).read().to_pylist() == TABLE.to_pylist()
    assert [pq.read_metadata(path).row_group(i).num_rows for i in range(3)] == [10, 10, 5]


def test_encodings(path: Path) -> None:
    parquet.write([TABLE], TABLE.schema, path, STYLE, 25)
    found = columns(path)
    assert {c.compression for c in found.values()} == {"ZSTD"}
    floats = {name for name, c in found.items() if "BYTE_STREAM_SPLIT" in c.encodings}
    assert floats == {"mag", "nested.flux.list.element", "scores.key_value.value"}
    assert {name for name, c in found.items() if c.has_dictionary_page} == {"band"}


@pytest.mark.parametrize("stored", [(), ("band",)])
def test_compression(path: Path, stored: tuple[str, ...]) -> None:
    for codec, named in (("lz4", "LZ4"), ("zstd", "ZSTD")):
        parquet.write([TABLE], TABLE.schema, path, replace(STYLE, codec=codec, stored=stored), 25)
        found = {name: c.compression for name, c in columns(path).items()}
        assert {c for name, c in found.items() if name not in stored} == {named}
        assert {found[name] for name in stored} <= {"UNCOMPRESSED"}
        assert pq.ParquetFile(path).read().to_pylist() == TABLE.to_pylist()


def test_only_what_is_looked_up_has_a_bloom_filter(path: Path) -> None:
    with_one = parquet.write([TABLE], TABLE.schema, path, STYLE, 25).bytes
    assert parquet.write([TABLE], TABLE.schema, path, Style(10, ("band",)), 25).bytes < with_one


def test_same_rows_give_the_same_bytes(path: Path, tmp_path: Path) -> None:
    first = parquet.write([TABLE], TABLE.schema, path, STYLE, 25)
    assert parquet.write([TABLE], TABLE.schema, tmp_path / "again", STYLE, 25) == first


def test_fingerprint_counts_names_types_and_metadata() -> None:
    schema = TABLE.schema
    others = [
        schema.remove(0),
        schema.set(2, pa.field("mag", pa.float64())),
        schema.set(2, pa.field("mag", pa.float32(), metadata={"unit": "mag"})),
    ]
    known = [parquet.known_schema(s) for s in (schema, *others)]
    assert len({k.schema_id for k in known}) == 4
    assert parquet.known_schema(pa.schema(list(schema))) == known[0]
    assert pa.ipc.read_schema(pa.py_buffer(known[2].content)).equals(others[1], check_metadata=True)


def test_no_table_stays_while_the_next_one_is_made(path: Path) -> None:
    rows = 1_000_000
    table = pa.table({"_mjd": np.arange(rows, dtype=float), "_healpix_29": np.arange(rows)})
    before, held = pa.total_allocated_bytes(), []

    def made() -> Iterator[pa.Table]:
        for _ in range(3):
            held.append(pa.total_allocated_bytes() - before)
            yield table.take(pa.array([*range(rows)]))

    written = parquet.write(Summary(PACKETS).watch(made()), table.schema, path, PACKETS.parquet, 3 * rows)
    assert written.rows == 3 * rows
    assert max(held) < table.nbytes / 2
