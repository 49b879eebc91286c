"""Rows of what a commit adds: parts with their ranges, files, schemas and quarantined messages."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from finkbridge.errors import CommitConflictError, ReconciliationError
from finkbridge.ledger import schema as s
from finkbridge.ledger import writers
from finkbridge.ledger.delays import note_delays
from finkbridge.ledger.rows import chunks, insert_one
from finkbridge.ledger.seen import note_surveys
from finkbridge.values import KnownSchema, LandedFile, LandedPart, SegmentPlan


@dataclass(frozen=True, slots=True)
class Owner:
    """What a part belongs to."""

    commit: int
    plan: SegmentPlan
    generation_id: int


def add_part(connection: Connection, owner: Owner, part: LandedPart) -> None:
    """Write a landed part down, whole: its segment, ranges, files, schemas, rejects and last messages."""
    _grow_generation(connection, owner.generation_id, part)
    segment_id = insert_one(connection, s.segments, _segment_row(owner, part))
    connection.execute(insert(s.segment_ranges), _segment_range_rows(segment_id, owner.generation_id, part))
    add_schemas(connection, part.schemas)
    add_files(connection, part.files, owner.commit, segment_id)
    note_surveys(connection, owner.generation_id, {f.survey for f in part.files if f.table == "deliveries"})
    note_delays(connection, owner.generation_id, part.files)
    writers.note_schemas(connection, owner.generation_id, part.files)
    if part.rejected:
        connection.execute(insert(s.quarantine), _quarantine_rows(segment_id, owner.generation_id, part))
    _note_last_messages(connection, owner.generation_id, part)


def add_files(
    connection: Connection, files: Sequence[LandedFile], commit: int, segment_id: int | None
) -> None:
    """Write data files down; `segment_id` is None for those that merging wrote."""
    belongs = {"segment_id": segment_id, "added": commit}
    if files:
        connection.execute(insert(s.files), [file_row(file) | belongs for file in files])


def file_row(file: LandedFile) -> dict[str, Any]:
    """Return what the ledger has of a data file but for its segment and commit."""
    return {
        "path": file.path,
        "table": file.table,
        "survey": file.survey,
        "night": file.night,
        "rows": file.rows,
        "bytes": file.bytes,
        "checksum": file.checksum,
        "schema_id": file.schema_id,
        **{k: file.statistics.get(k) for k in ("mjd_min", "mjd_max", "healpix_min", "healpix_max")},
    }


def remove_files(connection: Connection, ids: Sequence[int], commit: int, *, rows: int) -> None:
    """Note that a commit replaces living files by others that have `rows` rows.

    Raises
    ------
    ReconciliationError
        The living files among them have another number of rows.
    CommitConflictError
        One of them was replaced before.
    """
    f = s.files.c
    found = removed = 0
    for some in chunks(ids):
        alive = f.id.in_(some), f.removed.is_(None)
        found += int(connection.scalar(select(func.sum(f.rows)).where(*alive)) or 0)
        removed += connection.execute(update(s.files).where(*alive).values(removed=commit)).rowcount
    if found != rows:
        raise ReconciliationError(f"merging would turn {found} rows into {rows}")
    if removed != len(ids):
        raise CommitConflictError("a file to merge was replaced meanwhile: nothing was changed")


def mark_deleted(connection: Connection, ids: Sequence[int]) -> None:
    """Note that replaced files are gone from disk."""
    for some in chunks(ids):
        gone = update(s.files).where(s.files.c.id.in_(some))
        connection.execute(gone.values(deleted_at=time.time()))


def add_schemas(connection: Connection, schemas: Sequence[KnownSchema]) -> None:
    """Write those schemas down that the ledger does not have yet."""
    wanted = {known.schema_id: known for known in schemas}
    column = s.schemas.c.schema_id
    for some in chunks(list(wanted)):
        for schema_id in connection.scalars(select(column).where(column.in_(some))):
            del wanted[schema_id]
    if not wanted:
        return
    now = time.time()
    rows = [(k.schema_id, k.kind, k.content, now) for k in wanted.values()]
    names = [column.name for column in s.schemas.c]
    connection.execute(insert(s.schemas), [dict(zip(names, row, strict=True)) for row in rows])
    columns = [{"schema_id": k.schema_id, "columns": k.columns} for k in wanted.values() if k.kind == "avro"]
    if columns:
        connection.execute(insert(s.schema_columns), columns)


def _grow_generation(connection: Connection, generation_id: int, part: LandedPart) -> None:
    g = s.generations.c
    messages = sum(c.rows + c.quarantined for c in part.counts)
    grown = {"messages": g.messages + messages, "bytes": g.bytes + part.bytes}
    connection.execute(update(s.generations).where(g.id == generation_id).values(**grown))


def _segment_row(owner: Owner, part: LandedPart) -> dict[str, Any]:
    rows = sum(c.rows for c in part.counts)
    quarantined = sum(c.quarantined for c in part.counts)
    return {
        "commit": owner.commit,
        "plan": owner.plan.number,
        "part": part.part,
        "generation_id": owner.generation_id,
        "messages": rows + quarantined,
        "rows": rows,
        "quarantined": quarantined,
        "holes": sum(h.offsets for c in part.counts for h in c.holes),
        "bytes": part.bytes,
        "first_timestamp_ms": part.first_timestamp_ms,
        "last_timestamp_ms": part.last_timestamp_ms,
    }


def _segment_range_rows(segment_id: int, generation_id: int, part: LandedPart) -> list[dict[str, Any]]:
    return [
        {
            "segment_id": segment_id,
            "position": position,
            "partition": c.range.partition,
            "start_offset": c.range.start,
            "end_offset": c.range.end,
            "rows": c.rows,
            "quarantined": c.quarantined,
            "holes": json.dumps([[h.start, h.end] for h in c.holes]),
            "first_timestamp_ms": c.first_timestamp_ms,
            "last_timestamp_ms": c.last_timestamp_ms,
            "generation_id": generation_id,
        }
        for position, c in enumerate(part.counts)
    ]


def _quarantine_rows(segment_id: int, generation_id: int, part: LandedPart) -> list[dict[str, Any]]:
    belongs = {"segment_id": segment_id, "generation_id": generation_id, "state": "waiting"}
    return [{**rejection._asdict(), **belongs} for rejection in part.rejected]


def _note_last_messages(connection: Connection, generation_id: int, part: LandedPart) -> None:
    p = s.partitions.c
    for last in part.last:
        mine = update(s.partitions).where(p.generation_id == generation_id, p.partition == last.partition)
        connection.execute(mine.values(last_offset=last.offset, last_hash=last.hash))
