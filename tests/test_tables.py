"""Rows of the lake's tables: parted by night, sorted by place and time, summed up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from finkbridge import surveys, tables
from finkbridge.tables import DELIVERIES, KEY_SCHEMA, PACKETS, Origin, Summary
from finkbridge.values import TopicGeneration

POINTS = pa.table({"x": [float(i) for i in range(6)], "_Topic": ["mine"] * 6})


def origin(rows: int = 6) -> Origin:
    n = np.arange(rows, dtype=np.int64)
    source = TopicGeneration("ztf", "t", 3)
    return Origin(source, n % 2, n + 10, n * 1000 - 1, "archive/a.avro", n * 100, n + 50, "abc")


def rows_of(nights: list[int]) -> list[tables.NightRows]:
    description = surveys.describe(POINTS, "other")
    places = tables.places_of(origin())
    deliveries = tables.deliveries_of(description, places)
    packets = tables.packets_of(POINTS, description, places)
    return list(tables.by_night(deliveries, packets, np.array(nights, np.int32)))


def test_deliveries_say_where_a_message_comes_from() -> None:
    (found,) = rows_of([20260320] * 6)
    rows = sorted(found.deliveries.to_pylist(), key=lambda row: row["kafka_offset"])
    first: dict[str, Any] = rows[0]
    assert first["received"] is None  # there is no time before 1970
    assert rows[1]["received"].isoformat() == "1970-01-01T00:00:00.999000+00:00"
    assert [row["kafka_offset"] for row in rows] == list(range(10, 16))
    named = (
        "cluster",
        "topic",
        "generation",
        "kafka_partition",
        "archive_file",
        "archive_pos",
        "archive_len",
    )
    assert [rows[3][name] for name in named] == ["ztf", "t", 3, 1, "archive/a.avro", 300, 53]
    assert found.deliveries.column_names[:3] == ["object_id", "source_id", "cluster"]
    assert set(found.deliveries.column_names) == set(tables.delivery_fields()) & set(
        found.deliveries.column_names
    )


@pytest.mark.parametrize("stamp", [-1, 253_402_300_800_000, 9_300_000_000_000_000, 2**63 - 1])
def test_time_that_no_table_can_hold_is_null(stamp: int) -> None:
    places = tables.places_of(replace(origin(2), timestamp_ms=np.array([1_500, stamp])))
    assert [at and at.year for at in places["received"].to_pylist()] == [1970, None]


def test_packets_keep_columns_that_are_named_as_keys() -> None:
    (found,) = rows_of([20260320] * 6)
    assert found.packets.column_names == [*KEY_SCHEMA.names, "x", "_Topic_"]
    assert found.packets["_Topic_"].to_pylist() == ["mine"] * 6
    assert found.packets["_topic"].to_pylist() == ["t"] * 6


@pytest.mark.parametrize("nights", [[1, 1, 1, 2, 2, 3], [3, 1, 2, 1, 3, 2], [5] * 6])
def test_every_row_is_in_its_night(nights: list[int]) -> None:
    found = rows_of(nights)
    assert [rows.night for rows in found] == sorted(set(nights))
    for rows in found:
        mine = [10 + i for i, night in enumerate(nights) if night == rows.night]
        assert sorted(rows.deliveries["kafka_offset"].to_pylist()) == mine
        assert rows.packets["_kafka_offset"].to_pylist() == mine


def test_sorted_by_place_then_time_nulls_last() -> None:
    table = pa.table({"healpix_29": [5, None, 1, 5, 1], "mjd": [2.0, 1.0, None, 1.0, 3.0]})
    assert tables.sort(table, DELIVERIES).to_pydict() == {
        "healpix_29": [1, 1, 5, 5, None],
        "mjd": [3.0, None, 1.0, 2.0, 1.0],
    }


def test_summary_spans_all_tables_that_pass() -> None:
    summary = Summary(PACKETS)
    schema = pa.schema([("_mjd", pa.float64()), ("_healpix_29", pa.int64())])
    pieces = [
        pa.Table.from_pylist(rows, schema)
        for rows in (
            [{"_mjd": 2.0, "_healpix_29": 7}, {"_mjd": 3.0, "_healpix_29": None}],
            [{"_mjd": None, "_healpix_29": None}],
            [{"_mjd": 1.5, "_healpix_29": 9}],
        )
    ]
    assert list(summary.watch(pieces)) == pieces
    assert summary.statistics == {"mjd_min": 1.5, "mjd_max": 3.0, "healpix_min": 7, "healpix_max": 9}


def test_every_column_has_a_description() -> None:
    for field in [*tables.delivery_fields().values(), *KEY_SCHEMA]:
        assert field.metadata[b"description"], field.name
        assert b"unit" in field.metadata
