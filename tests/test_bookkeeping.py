"""The catalog's copies of the ledger's tables: whole in bounded memory, and only where a query needs them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from sqlalchemy import update

from finkbridge import catalog, layout
from finkbridge.catalog import bookkeeping
from finkbridge.ledger import Coordinator, Ledger, coordinate, schema
from finkbridge.values import LandedFile, LandedPart, OffsetRange, RangeCount, Rejection


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Five segments of nothing but a hole each, and a gap."""
    with Ledger(tmp_path / "lake", create=True) as ledger:
        coordinator = Coordinator(ledger)
        generation = coordinator.add_generation("ztf", "t", None)
        coordinator.start_partitions(generation, {0: 0})
        for start in range(0, 15, 3):
            commit(coordinator, start)
        coordinator.commit_gap(generation, OffsetRange(0, 15, 17), "expired")
        yield ledger


def commit(coordinator: Coordinator, start: int, *, rejected: bool = False) -> None:
    """Commit a segment of three holes, or of two behind a message that is in quarantine."""
    planned = OffsetRange(0, start, start + 3)
    generation = coordinator.ledger.generations()["ztf", "t"]
    (plan,) = coordinator.add_plans(generation, [(planned,)], 1)
    count = RangeCount(planned, 0, 0, (planned,))
    files: tuple[LandedFile, ...] = ()
    bad: tuple[Rejection, ...] = ()
    if rejected:
        count = RangeCount(planned, 0, 1, (OffsetRange(0, start + 1, start + 3),))
        files = (LandedFile(f"q/{start}", "quarantine", "", None, 1, 9, "c0ffee", "s"),)
        bad = (Rejection(0, start, 1, "garbage", None, "", f"q/{start}"),)
    coordinator.commit_segment(plan, [LandedPart(0, files, (count,), bad, (), (), 30, start, None)])


@pytest.mark.parametrize("batch", [1, 2, 5, 100])
def test_every_segment_is_copied_in_order_however_large_the_batches(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(bookkeeping, "BATCH_ROWS", batch)
    with catalog.connect(ledger) as connection:
        columns = "start_offset, end_offset, holes, first_timestamp_ms, last_timestamp_ms"
        rows = connection.sql(f"SELECT {columns} FROM segments").fetchall()
        assert rows == [(at, at + 3, f"[[{at}, {at + 3}]]", at, None) for at in range(0, 15, 3)]
        assert connection.sql("SELECT holes, lost_offsets FROM topics").fetchall() == [(15, 2)]
        assert connection.sql("SELECT reason FROM gaps").fetchall() == [("expired",)]


def test_no_view_has_a_column_that_a_query_must_quote(ledger: Ledger) -> None:
    with catalog.connect(ledger) as connection:
        tables = connection.execute(
            "SELECT table_name, list(column_name) FROM duckdb_columns() WHERE NOT internal GROUP BY 1"
        )
        columns = dict(tables.fetchall())
        assert set(bookkeeping.NAMES) < set(columns)
        assert {"kafka_partition", "kafka_offset"} < set(columns["quarantine"])
        assert all("kafka_partition" in columns[name] for name in ("segments", "quarantine", "gaps"))
        for view, names in columns.items():
            assert not {"partition", "offset"} & set(names), view
            connection.execute(f"SELECT {', '.join(names)} FROM {view}").fetchall()


@pytest.mark.parametrize(
    ("query", "filled"),
    [
        ("FROM deliveries", []),
        ('FROM "Segments"', ["segments"]),
        ("FROM topics, gaps", ["topics", "gaps"]),
    ],
)
def test_a_query_fills_the_tables_that_it_names(ledger: Ledger, query: str, filled: list[str]) -> None:
    with catalog.connect(ledger, query) as connection:
        rows = {n: connection.sql(f"FROM {n}").fetchall() for n in ("segments", "topics", "gaps")}
        assert [name for name, found in rows.items() if found] == filled
        connection.execute(query)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Collect the start and end offsets of the segments that are read in the ledger."""
    found: list[tuple[int, int]] = []
    batches = bookkeeping._batches

    def watched(query: Any, schema: pa.Schema, ledger: Ledger) -> Iterator[pa.Table]:
        for batch in batches(query, schema, ledger):
            if "holes" in schema.names and "part" in schema.names:
                found.extend(
                    zip(*(batch[n].to_pylist() for n in ("start_offset", "end_offset")), strict=True)
                )
            yield batch

    monkeypatch.setattr(bookkeeping, "_batches", watched)
    return found


def assert_exact(ledger: Ledger) -> None:
    """Compare the published tables with those that are made anew."""
    file = ledger.lake / layout.CATALOG
    with duckdb.connect(str(file), read_only=True) as published, catalog.connect(ledger) as anew:
        for name in bookkeeping.NAMES:
            query = f"FROM {name} ORDER BY ALL"
            assert published.sql(query).fetchall() == anew.sql(query).fetchall(), name
            assert published.sql(query).columns == anew.sql(query).columns


WHOLE = [(at, at + 3) for at in range(0, 15, 3)]


def test_publishing_again_reads_new_segments_only(ledger: Ledger, read: list[tuple[int, int]]) -> None:
    with coordinate(ledger) as coordinator:
        catalog.publish(coordinator)
        assert read == WHOLE
        for start in (17, 20):
            read.clear()
            commit(coordinator, start)
            catalog.publish(coordinator)
            assert read == [(start, start + 3)]
            read.clear()
            catalog.publish(coordinator)
            assert read == []
            assert_exact(ledger)


def test_segments_with_messages_in_quarantine_are_read_again(
    ledger: Ledger, read: list[tuple[int, int]]
) -> None:
    """A message that leaves the quarantine makes its segment another one."""
    with coordinate(ledger) as coordinator:
        commit(coordinator, 17, rejected=True)
        catalog.publish(coordinator)
        assert_exact(ledger)
        with coordinator.writing() as connection:
            for table in (schema.segments, schema.segment_ranges):
                bad = table.c.quarantined == 1
                connection.execute(update(table).where(bad).values(rows=1, quarantined=0))
        read.clear()
        catalog.publish(coordinator)
        assert read == [(17, 20)]
        assert_exact(ledger)


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[8192:] = bytes(len(content) - 8192)
    file.write_bytes(content)


def make_older(file: Path) -> None:
    file.unlink()
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE TABLE segments AS SELECT 1 AS commit, 2 AS plan")


def change(file: Path) -> None:
    with duckdb.connect(str(file)) as connection:
        connection.execute("DELETE FROM segments WHERE start_offset = 3")


def empty(file: Path) -> None:
    file.write_bytes(b"")


def keeping_time(harm: Callable[[Path], None]) -> Callable[[Path], None]:
    def harmed(file: Path) -> None:
        times = file.stat()
        harm(file)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

    return harmed


HARMS = [Path.unlink, damage, make_older, empty, change, *map(keeping_time, (damage, make_older, empty))]


@pytest.mark.parametrize("harm", HARMS)
def test_a_catalog_that_is_missing_damaged_or_another_one_is_written_whole(
    ledger: Ledger, read: list[tuple[int, int]], harm: Callable[[Path], None]
) -> None:
    file = ledger.lake / layout.CATALOG
    with coordinate(ledger) as coordinator:
        catalog.publish(coordinator)
        read.clear()
        harm(file)
        catalog.publish(coordinator)
    assert read[-5:] == WHOLE
    assert_exact(ledger)


def test_a_catalog_of_another_lake_is_written_whole(
    ledger: Ledger, read: list[tuple[int, int]], tmp_path: Path
) -> None:
    with coordinate(ledger) as coordinator:
        catalog.publish(coordinator)
    with Ledger(tmp_path / "other", create=True) as other, coordinate(other) as coordinator:
        shutil.copy2(ledger.lake / layout.CATALOG, other.lake / layout.CATALOG)
        read.clear()
        catalog.publish(coordinator)
        assert read == []
        assert_exact(other)
