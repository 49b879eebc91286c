"""The catalog's copies of the ledger's tables: whole in bounded memory, and only where a query needs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from finkbridge import catalog
from finkbridge.catalog import bookkeeping
from finkbridge.ledger import Ledger, coordinate
from finkbridge.values import LandedPart, OffsetRange, RangeCount


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Five segments of nothing but a hole each, and a gap."""
    with Ledger(tmp_path / "lake", create=True) as ledger, coordinate(ledger) as coordinator:
        generation = coordinator.add_generation("ztf", "t", None)
        coordinator.start_partitions(generation, {0: 0})
        for start in range(0, 15, 3):
            planned = OffsetRange(0, start, start + 3)
            (plan,) = coordinator.add_plans(generation, [(planned,)], 1)
            count = RangeCount(planned, 0, 0, (planned,))
            coordinator.commit_segment(plan, [LandedPart(0, (), (count,), (), (), (), 30, start, None)])
        coordinator.commit_gap(generation, OffsetRange(0, 15, 17), "expired")
        yield ledger


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
