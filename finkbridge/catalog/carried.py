"""What a new catalog takes over from the one before: reading a year's segments in the ledger takes seconds.

Only from a file that this very ledger published and that nobody has changed since. A segment changes when
messages of it leave the quarantine, so segments with such messages are read anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
from sqlalchemy import ColumnElement, or_, select

from finkbridge import layout
from finkbridge.catalog.sql import quoted
from finkbridge.ledger import Coordinator, Ledger
from finkbridge.ledger import schema as s

OLD = "old"
"""How the catalog before is attached."""


@dataclass(frozen=True, slots=True)
class Before:
    """The catalog before."""

    file: Path
    last_segment: int
    """Row id, in the ledger, of the newest segment in it."""


def before(coordinator: Coordinator) -> Before | None:
    """Return the catalog before; None where there is none, or where it is not what was published."""
    file = coordinator.ledger.lake / layout.CATALOG
    if not file.is_file() or file.with_name(f"{file.name}.wal").exists():
        return None
    if file.stat().st_mtime_ns != coordinator.published_mtime_ns():
        return None
    return Before(file, _last_segment(coordinator.ledger, coordinator.published()))


def is_new(before: Before) -> ColumnElement[bool]:
    """Whether a segment is not in the catalog before, or may be another one now."""
    segment = s.segment_ranges.c.segment_id
    return or_(segment > before.last_segment, segment.in_(select(s.quarantine.c.segment_id)))


def carry_segments(connection: duckdb.DuckDBPyConnection, ledger: Ledger, columns: list[str]) -> None:
    """Copy the segments that cannot have changed from the catalog before to the table ``segments``."""
    c = s.segments.c
    changing = select(c.plan, c.part).where(c.id.in_(select(s.quarantine.c.segment_id)))
    with ledger.reading() as source:
        plans, parts = list(zip(*source.execute(changing), strict=True)) or [(), ()]
    connection.register(
        "changing", pa.table({"plan": pa.array(plans, pa.int64()), "part": pa.array(parts, pa.int64())})
    )
    names = ", ".join(map(quoted, columns))
    connection.execute(
        f"INSERT INTO segments SELECT {names} FROM {OLD}.segments AS o WHERE NOT EXISTS "
        "(FROM changing AS c WHERE c.plan = o.plan AND c.part = o.part)"
    )
    connection.unregister("changing")


def _last_segment(ledger: Ledger, commit: int) -> int:
    """Return the newest segment up to a commit: both only grow, so that a look from the end finds it soon."""
    c = s.segments.c
    newest = select(c.id).where(c.commit <= commit).order_by(c.id.desc()).limit(1)
    with ledger.reading() as connection:
        return connection.scalar(newest) or 0
