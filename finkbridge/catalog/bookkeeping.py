"""What the catalog copies from the ledger, so that its readers need no ledger: a few rows a segment."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import duckdb
import pyarrow as pa
from sqlalchemy import Select, func, select

from finkbridge.catalog.carried import Before, carry_segments, is_new
from finkbridge.ledger import Ledger
from finkbridge.ledger import schema as s

NAMES = ("segments", "topics", "quarantine", "gaps")
PARTITION, OFFSET = "kafka_partition", "kafka_offset"
"""As in deliveries: the bare words mean something in SQL, and a query would have to quote them."""
BATCH_ROWS = 20_000
"""Rows that are copied at once: a few MB, however many segments there are."""

_TYPES = {"INTEGER": pa.int32(), "BIGINT": pa.int64(), "DOUBLE": pa.float64(), "FLOAT": pa.float64()}


def copy_all(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    names: Collection[str] = NAMES,
    before: Before | None = None,
) -> None:
    """Make the tables ``segments``, ``topics``, ``quarantine`` and ``gaps``; those not named stay empty.

    With a catalog `before`, segments are taken from it as far as it has them.
    """
    for name, query in _QUERIES.items():
        wanted = query()
        _make(connection, name, wanted)
        if before and name == "segments":
            carry_segments(connection, ledger, [c.name for c in wanted.selected_columns])
            wanted = wanted.where(is_new(before))
        if name in names:
            _fill(connection, name, wanted, ledger)


def named_in(text: str) -> list[str]:
    """Return the tables that a query may need: those whose name stands anywhere in its text."""
    return [name for name in NAMES if name in text.lower()]


def _make(connection: duckdb.DuckDBPyConnection, name: str, query: Select[Any]) -> None:
    connection.register("copied", _schema(query).empty_table())
    connection.execute(f"CREATE TABLE {name} AS FROM copied")
    connection.unregister("copied")


def _schema(query: Select[Any]) -> pa.Schema:
    return pa.schema([(c.name, _TYPES.get(str(c.type), pa.string())) for c in query.selected_columns])


def _fill(connection: duckdb.DuckDBPyConnection, name: str, query: Select[Any], ledger: Ledger) -> None:
    for batch in _batches(query, _schema(query), ledger):
        # DuckDB's inserts of single rows take 7 ms each, and a year of `follow` makes a million
        connection.register("copied", batch)
        connection.execute(f"INSERT INTO {name} FROM copied")
        connection.unregister("copied")


def _batches(query: Select[Any], schema: pa.Schema, ledger: Ledger) -> Iterator[pa.Table]:
    with ledger.reading() as source:
        for rows in source.execution_options(yield_per=BATCH_ROWS).execute(query).partitions():
            values = zip(*rows, strict=True)
            yield pa.table(list(map(pa.array, values, schema.types)), schema=schema)


def _segments() -> Select[Any]:
    g, c, r = s.generations.c, s.segments.c, s.segment_ranges.c
    return (
        select(
            c.commit,
            c.plan,
            c.part,
            g.cluster,
            g.topic,
            g.generation,
            r.partition.label(PARTITION),
            r.start_offset,
            r.end_offset,
            r.rows,
            r.quarantined,
            r.holes,
            c.first_timestamp_ms,
            c.last_timestamp_ms,
        )
        .select_from(s.segment_ranges.join(s.segments).join(s.generations))
        .order_by(r.segment_id, r.position)  # by the primary key: that of the commits, and nothing is sorted
    )


def _topics() -> Select[Any]:
    g, c = s.generations.c, s.segments.c
    waiting = (
        select(func.count())
        .where(s.quarantine.c.generation_id == g.id, s.quarantine.c.state == "waiting")
        .scalar_subquery()
    )
    lost = (
        select(func.coalesce(func.sum(s.gaps.c.end_offset - s.gaps.c.start_offset), 0))
        .where(s.gaps.c.generation_id == g.id)
        .scalar_subquery()
    )
    summed = (
        select(
            c.generation_id,
            *(func.sum(c[name]).label(name) for name in ("messages", "rows", "holes", "bytes")),
            func.min(c.first_timestamp_ms).label("first_timestamp_ms"),
            func.max(c.last_timestamp_ms).label("last_timestamp_ms"),
        )
        .group_by(c.generation_id)
        .subquery()  # first summed, then joined: half the time
    )
    return (
        select(
            g.cluster,
            g.topic,
            g.generation,
            func.coalesce(summed.c.messages, 0).label("messages"),
            func.coalesce(summed.c.rows, 0).label("rows"),
            waiting.label("quarantined"),
            func.coalesce(summed.c.holes, 0).label("holes"),
            lost.label("lost_offsets"),
            func.coalesce(summed.c.bytes, 0).label("bytes"),
            summed.c.first_timestamp_ms,
            summed.c.last_timestamp_ms,
        )
        .select_from(s.generations.outerjoin(summed, summed.c.generation_id == g.id))
        .order_by(g.cluster, g.topic, g.generation)
    )


def _quarantine() -> Select[Any]:
    g, q = s.generations.c, s.quarantine.c
    return (
        select(
            g.cluster,
            g.topic,
            g.generation,
            q.partition.label(PARTITION),
            q.offset.label(OFFSET),
            q.timestamp_ms,
            q.reason,
            q.byte_position,
            q.reference,
            q.path,
            q.state,
        )
        .select_from(s.quarantine.join(s.generations))
        .order_by(q.id)
    )


def _gaps() -> Select[Any]:
    g, x = s.generations.c, s.gaps.c
    return (
        select(
            x.commit,
            g.cluster,
            g.topic,
            g.generation,
            x.partition.label(PARTITION),
            x.start_offset,
            x.end_offset,
            x.reason,
        )
        .select_from(s.gaps.join(s.generations))
        .order_by(x.id)
    )


_QUERIES = {"segments": _segments, "topics": _topics, "quarantine": _quarantine, "gaps": _gaps}
