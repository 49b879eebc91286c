"""Many small files of a night become one, and no reader sees anything else than before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finkbridge import catalog, disk, layout, merge, parquet, tables
from finkbridge.disk import Staging
from finkbridge.drain import Bridge, open_bridge
from finkbridge.errors import NameTakenError
from finkbridge.ledger import Ledger, coordinate, schema
from finkbridge.retire import delete_replaced
from finkbridge.values import LandedFile, LandedPart, OffsetRange, RangeCount
from tests.support.kafka import Kafka
from tests.support.lake import (
    KEPT,
    assert_consistent,
    data_files,
    forget_landers,
    ledger_rows,
    make_settings,
    offsets,
    read_table,
    real_alerts,
    same,
)


@pytest.mark.kafka
@pytest.mark.slow
def test_seventy_small_segments_of_one_night(kafka: Kafka, tmp_path: Path, shared_data: Path) -> None:
    lake, topic = tmp_path / "lake", kafka.topic("fink_small_ztf", config=KEPT)
    ztf = real_alerts(shared_data / "ztf")
    merging = {"files": 64, "grace_s": 3600}
    one_each = {"segment_bytes": 1}  # a file for each message, as if each had been a drain of its own
    settings = make_settings(lake, kafka.bootstrap, topic, merge=merging, drain=one_each)
    with open_bridge(settings) as bridge:
        kafka.produce(topic, [ztf.records[number % len(ztf.records)] for number in range(64)])
        assert bridge.run().succeeded
        before = {table: read_table(lake, table).to_pylist() for table in ("deliveries", "packets")}
        assert sum(path.startswith("packets/") for path in data_files(lake)) == 64
        reader = duckdb.connect(str(lake / layout.CATALOG), read_only=True)
        for number in range(6):
            kafka.produce(topic, [ztf.records[number]])
            assert bridge.run().succeeded
            assert (
                len(catalog.connect(bridge.coordinator.ledger).sql("FROM deliveries").fetchall())
                == 65 + number
            )
        assert len(reader.sql("FROM packets_ztf").fetchall()) == 64  # its files are still there
        reader.close()
    forget_landers()
    with Ledger(lake) as ledger, coordinate(ledger) as coordinator:
        assert len(ledger.alive_files("packets")) == 6
        assert len(ledger.alive_files("deliveries")) == 6
        assert delete_replaced(coordinator, 3600) == 0
        assert delete_replaced(coordinator, 0) == 130
    assert_consistent(lake)
    assert offsets(lake) == [(1, 0, o) for o in range(70)]
    for table, rows in before.items():
        assert same(read_table(lake, table).to_pylist()[:64], rows)


@pytest.fixture
def ledger(lake: Path) -> Iterator[Ledger]:
    with Ledger(lake, create=True) as ledger:
        yield ledger


def add_packets(ledger: Ledger, pieces: list[pa.Table]) -> None:
    """Commit tables as files of one night."""
    lake = ledger.lake
    files = []
    for number, piece in enumerate(pieces):
        path = f"packets/other/t/night=20260320/{number}.parquet"
        (lake / path).parent.mkdir(parents=True, exist_ok=True)
        summary = tables.Summary(tables.PACKETS)
        style = tables.PACKETS.parquet
        written = parquet.write(summary.watch([piece]), piece.schema, lake / path, style, piece.num_rows)
        files.append(tables.landed(path, "other", written, piece.schema, summary))
    with coordinate(ledger) as coordinator:
        generation = coordinator.add_generation("ztf", "t", None)
        coordinator.start_partitions(generation, {0: 0})
        rows = sum(piece.num_rows for piece in pieces)
        files += [other_file(lake, table, rows) for table in ("archive", "deliveries")]
        (plan,) = coordinator.add_plans(generation, [(OffsetRange(0, 0, rows),)], 1)
        counts = (RangeCount(OffsetRange(0, 0, rows), rows, 0, ()),)
        schemas = {parquet.known_schema(piece.schema): None for piece in [*pieces, NO_DELIVERIES]}
        known = tuple(schemas)
        with patch("finkbridge.ledger.reconcile.check_files"):  # of the tables there is one
            coordinator.commit_segment(
                plan, [LandedPart(0, tuple(files), counts, (), known, (), 1, None, None)]
            )


NO_DELIVERIES = tables.empty_deliveries().drop_columns(["survey", "night"])


def other_file(lake: Path, table: Any, rows: int) -> LandedFile:
    """Return a file that the ledger lists with so many rows, and that has none."""
    empty, path = NO_DELIVERIES, f"{table}/other/night=20260320/all.parquet"
    (lake / path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(empty, lake / path)
    schema_id, night = parquet.known_schema(empty.schema).schema_id, layout.parse_night(path)
    return LandedFile(path, table, "other", night, rows, 1, "c0ffee", schema_id)


def packets(first: int, count: int) -> pa.Table:
    """Rows of packets in no order of place, with content that has a size."""
    n = range(first, first + count)
    columns: dict[str, Any] = {
        "_object_id": [f"o{i}" for i in n],
        "_source_id": list(n),
        "_mjd": [None if i % 7 == 0 else 61000.0 + i for i in n],
        "_healpix_29": [None if i % 5 == 0 else (i * 7919) % 1009 for i in n],
        "_cluster": ["ztf"] * count,
        "_topic": ["t"] * count,
        "_generation": [1] * count,
        "_kafka_partition": [0] * count,
        "_kafka_offset": list(n),
    }
    keys = pa.table([pa.array(columns[f.name], f.type) for f in tables.KEY_SCHEMA], schema=tables.KEY_SCHEMA)
    nested = pa.array([[{"x": float(i), "s": "ab" * 50}] * 3 for i in n])
    return keys.append_column("history", nested)


def compression(path: Path) -> str:
    return str(pq.read_metadata(path).row_group(0).column(0).compression)


def merged(ledger: Ledger, most: int = 1) -> LandedFile:
    with coordinate(ledger) as coordinator:
        merge.merge_crowds(coordinator, ledger.crowds(most))
    (file,) = ledger.alive_files("packets")
    return file  # type: ignore[return-value]


@pytest.mark.parametrize("bucket_bytes", [10**9, 20_000, 1])
def test_rows_are_the_same_and_sorted_however_many_buckets(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, bucket_bytes: int
) -> None:
    monkeypatch.setattr(merge, "BUCKET_BYTES", max(bucket_bytes, 2_000))
    pieces = [packets(first, 300) for first in (0, 300, 600)]
    add_packets(ledger, pieces)
    file = merged(ledger)
    table = pq.ParquetFile(ledger.lake / file.path).read()
    order = [
        (h is None, h or 0, m is None, m or 0.0)
        for h, m in zip(table["_healpix_29"].to_pylist(), table["_mjd"].to_pylist(), strict=True)
    ]
    assert order == sorted(order)
    whole = pa.concat_tables(pieces)
    assert same(table.sort_by("_source_id").to_pylist(), whole.to_pylist())
    packet_files = [f for f in ledger_rows(ledger.lake, schema.files) if f.table == "packets"]
    assert {f.schema_id for f in packet_files} == {file.schema_id}
    assert (file.rows, file.checksum) == (900, disk.checksum(ledger.lake / file.path))
    assert list((ledger.lake / layout.SCRATCH).iterdir()) == []
    packet_paths = {f.path for f in packet_files} - {file.path}
    assert {compression(ledger.lake / path) for path in packet_paths} == {"LZ4"}
    assert compression(ledger.lake / file.path) == "ZSTD"
    groups = pq.ParquetFile(ledger.lake / file.path).num_row_groups
    assert groups == 1 if bucket_bytes == 10**9 else groups > 3


def test_rows_that_a_small_file_hides_are_counted(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nulls take nearly nothing in a file, and all of their places in memory."""
    monkeypatch.setattr(merge, "BUCKET_BYTES", 200_000)
    inner = pa.struct([(f"f{i}", pa.int64()) for i in range(20)])
    sparse = [
        packets(first, 20).append_column("sparse", pa.array([[None] * 100] * 20, pa.list_(inner)))
        for first in (0, 20, 40)
    ]
    add_packets(ledger, sparse)
    file = merged(ledger)
    merged_file = pq.ParquetFile(ledger.lake / file.path)
    assert file.bytes < 50_000
    assert merged_file.num_row_groups > 3
    assert merged_file.read().sort_by("_source_id")["sparse"].to_pylist() == [[None] * 100] * 60


def test_few_files_are_left_alone(ledger: Ledger) -> None:
    add_packets(ledger, [packets(0, 3), packets(3, 3)])
    assert list(ledger.crowds(2)) == []
    assert list(ledger.crowds(1)) != []


def test_files_of_other_schemas_are_not_mixed(ledger: Ledger) -> None:
    wider = packets(6, 3).append_column("extra", pa.array([1, 2, 3]))
    add_packets(ledger, [packets(0, 3), packets(3, 3), wider])
    with coordinate(ledger) as coordinator:
        assert merge.merge_crowds(coordinator, ledger.crowds(1)) == []
    assert sorted(f.rows for f in ledger.alive_files("packets")) == [3, 6]


def test_loser_of_a_race_changes_nothing(ledger: Ledger) -> None:
    add_packets(ledger, [packets(0, 3), packets(3, 3)])
    crowds = list(ledger.crowds(1))
    merged(ledger)
    before = {f.path for f in ledger.alive_files()}
    with coordinate(ledger) as coordinator:
        (problem,) = merge.merge_crowds(coordinator, crowds)
        assert coordinator.unfinished_merges() == []
    assert "rows into" in problem
    assert {f.path for f in ledger.alive_files()} == before
    assert len(list(ledger.lake.rglob("merged-*"))) == 1, "the winner's"


def six_packets() -> list[pa.Table]:
    """Three files of each of two schemas."""
    wider = [packets(at, 3).append_column("extra", pa.array([1, 2, 3])) for at in (9, 12, 15)]
    return [*(packets(at, 3) for at in (0, 3, 6)), *wider]


@pytest.mark.parametrize("content", [None, b"no parquet"])
def test_a_bad_file_is_one_problem_and_the_others_merge(ledger: Ledger, content: bytes | None) -> None:
    add_packets(ledger, six_packets())
    bad = ledger.lake / ledger.alive_files("packets")[1].path
    bad.unlink() if content is None else bad.write_bytes(content)
    with coordinate(ledger) as coordinator:
        (problem,) = merge.merge_crowds(coordinator, ledger.crowds(2))
        assert coordinator.unfinished_merges() == []
    assert problem.startswith("packets/other/t/night=20260320: merging failed and changed nothing: ")
    assert "\n" not in problem
    assert sorted(f.rows for f in ledger.alive_files("packets")) == [3, 3, 3, 9]


def test_a_name_that_is_taken_is_left_to_whom_it_is(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next coordinator deletes what it finds announced and not committed: not this one's file."""

    def refuse(_: Staging) -> None:
        raise NameTakenError("is there with other content")

    add_packets(ledger, six_packets())
    monkeypatch.setattr(Staging, "publish", refuse)
    with coordinate(ledger) as coordinator:
        problems = merge.merge_crowds(coordinator, ledger.crowds(2))
        assert problems
        assert all("is there with other content" in problem for problem in problems)
        assert coordinator.unfinished_merges() == []


def test_a_bad_file_does_not_stop_publishing(ledger: Ledger, lake: Path) -> None:
    settings = make_settings(lake, "127.0.0.1:1", merge={"files": 2, "grace_s": 0})
    add_packets(ledger, six_packets())
    (lake / ledger.alive_files("packets")[1].path).write_bytes(b"no parquet")
    with coordinate(ledger) as coordinator:
        assert len(Bridge(settings, coordinator, {}).publish()) == 1
        assert coordinator.published() == ledger.last_commit() == 2


def test_only_files_of_one_size_class_are_merged(ledger: Ledger) -> None:
    add_packets(ledger, [packets(at, 3) for at in range(0, 18, 3)])
    ids = [f.id for f in ledger.alive_files("packets")]
    sizes = [10, 3_999_999, 4_000_000, 15_999_999, 64_000_000, schema.MERGED_BYTES]
    with ledger.engine.begin() as connection:
        for row_id, size in zip(ids, sizes, strict=True):
            connection.execute(schema.files.update().where(schema.files.c.id == row_id).values(bytes=size))
    assert [[f.bytes for f in crowd.files] for crowd in ledger.crowds(1)] == [sizes[:2], sizes[2:4]]


def test_published_before_merging_and_again_only_if_something_merged(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    for module, name in ((catalog, "publish"), (merge, "merge_crowds")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, f=real, n=name: (told.append(n), f(*a))[1])
    settings = make_settings(lake, "127.0.0.1:1", merge={"files": 2, "grace_s": 0})
    with Ledger(lake, create=True) as ledger:
        add_packets(ledger, [packets(at, 3) for at in (0, 3, 6)])
        with coordinate(ledger) as coordinator:
            bridge = Bridge(settings, coordinator, {})
            assert bridge.publish() == []
            assert bridge.publish() == []
    assert told == ["publish", "merge_crowds", "publish"]


def test_nested_columns_that_clash_meet_as_text(ledger: Ledger) -> None:
    """Structs unite child by child, and only where no child is of two kinds."""
    numbers = pa.array([[{"a": 1, "b": 2.5}]] * 2)
    texts = pa.array([[{"a": "x", "c": True}]] * 2)
    same_kind = [pa.array([{"p": 1}] * 2), pa.array([{"p": 0.5, "q": "y"}] * 2)]
    pieces = [
        packets(at, 2).append_column("clash", clash).append_column("fine", fine)
        for at, clash, fine in zip((0, 2), (numbers, texts), same_kind, strict=True)
    ]
    add_packets(ledger, pieces)
    with catalog.connect(ledger) as connection:
        query = "SELECT clash, fine FROM packets_other ORDER BY _kafka_offset"
        rows = connection.sql(query).fetchall()
    assert rows[0] == ('[{"a":1,"b":2.5}]', {"p": 1.0, "q": None})
    assert rows[3] == ('[{"a":"x","c":true}]', {"p": 0.5, "q": "y"})
