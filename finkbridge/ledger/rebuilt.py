"""Tables made anew from the archive: noted file by file as they are made, and switched to in one commit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, literal, select, update

from finkbridge.errors import ReconciliationError
from finkbridge.ledger import landed, rows
from finkbridge.ledger import schema as s
from finkbridge.ledger.coordinator import Coordinator
from finkbridge.ledger.delays import note_delays
from finkbridge.ledger.store import Ledger
from finkbridge.values import KnownSchema, LandedFile

TABLES = ("deliveries", "packets")
TABLES_MISSING = "tables_missing"
"""Fact of a ledger that was made again: no table has a file yet, until the first rebuild is committed."""


@dataclass(frozen=True, slots=True)
class Source:
    """An archive file whose rows are to be made anew."""

    id: int
    file: LandedFile
    segment_id: int | None
    """That its tables' files are to have; None where the ledger knows the first ones that it had."""


def tables_missing(connection: Connection) -> bool:
    """Whether the ledger was made again, and the tables not yet."""
    return bool(connection.scalar(select(s.meta.c.value).where(s.meta.c.key == TABLES_MISSING)))


def prepare(coordinator: Coordinator) -> None:
    """Make the table that a rebuild notes its files in, where a ledger of old has none."""
    with coordinator.writing() as connection:
        s.rebuilt.create(connection, checkfirst=True)


def made(ledger: Ledger) -> Sequence[Row[Any, Any, Any, Any]]:
    """Return archive_id, path, bytes and made_by of the files that rebuilds have made and not committed."""
    r = s.rebuilt.c
    with ledger.reading() as connection:
        query = select(r.archive_id, r.path, r.bytes, r.made_by).order_by(r.archive_id)
        return connection.execute(query).all()


def unfinished(ledger: Ledger) -> list[str] | None:
    """Return the files that were made for a new ledger, while its tables are missing; else None."""
    with ledger.reading() as connection:
        return list(connection.scalars(select(s.rebuilt.c.path))) if tables_missing(connection) else None


def sources(ledger: Ledger) -> list[Source]:
    """Return the archive files of which nothing was made anew yet."""
    f = s.files.c
    done = select(s.rebuilt.c.archive_id)
    query = select(s.files).where(f.table == "archive", f.removed.is_(None), f.rows > 0, f.id.not_in(done))
    with ledger.reading() as connection:
        is_first = tables_missing(connection)
        return [_source(row, is_first=is_first) for row in connection.execute(query.order_by(f.id))]


def take_numbers(coordinator: Coordinator, count: int) -> range:
    """Return numbers for the names of files, never used again."""
    n = s.numbers.c
    with coordinator.writing() as connection:
        connection.execute(update(s.numbers).where(n.name == "plan").values(last=n.last + count))
        last = connection.execute(select(n.last).where(n.name == "plan")).scalar_one()
    return range(last - count + 1, last + 1)


def note(
    coordinator: Coordinator,
    source: Source,
    made_by: str,
    files: Sequence[LandedFile],
    schemas: Sequence[KnownSchema],
) -> None:
    """Write down what a version made of an archive file, before the files get their names."""
    belongs = {"archive_id": source.id, "made_by": made_by, "segment_id": source.segment_id}
    with coordinator.writing() as connection:
        landed.add_schemas(connection, schemas)
        connection.execute(insert(s.rebuilt), [landed.file_row(file) | belongs for file in files])
        note_delays(connection, _generation(connection, source), files)


def forget(coordinator: Coordinator, archive_ids: Iterable[int]) -> None:
    """Forget what was made of archive files: it is not there any more, or of another version."""
    with coordinator.writing() as connection:
        for some in rows.chunks(archive_ids):
            connection.execute(delete(s.rebuilt).where(s.rebuilt.c.archive_id.in_(some)))


def commit_rebuild(coordinator: Coordinator) -> int:
    """Replace all files of the tables by those that were made anew, in one transaction.

    Where the ledger is new, and there were none, the new ones are a commit of their own in it.

    Raises
    ------
    ReconciliationError
        They do not have each row of the archive once.
    """
    f = s.files.c
    with coordinator.writing() as connection:
        _reconcile(connection)
        first = None
        if tables_missing(connection):
            first = rows.add_commit(connection, "adopt", coordinator.epoch)
            rows.note_fact(connection, TABLES_MISSING, 0)
        commit = rows.add_commit(connection, "rebuild", coordinator.epoch)
        older = f.table.in_(TABLES), f.removed.is_(None), f.path.not_in(select(s.rebuilt.c.path))
        connection.execute(update(s.files).where(*older).values(removed=commit))
        _add(connection, first or commit)
        connection.execute(delete(s.rebuilt))
    return commit


def _add(connection: Connection, commit: int) -> None:
    r, columns = s.rebuilt.c, ["path", *s.LANDED_COLUMNS]
    new = select(*(r[name] for name in columns), literal(commit)).order_by(r.archive_id, r.path)
    connection.execute(insert(s.files).from_select([*columns, "added"], new))


def _generation(connection: Connection, source: Source) -> int:
    file, segment = s.files.c, s.segments.c
    query = select(segment.generation_id).join(s.files, file.segment_id == segment.id)
    return int(connection.execute(query.where(file.id == source.id)).scalar_one())


def _source(row: Row[Any], *, is_first: bool) -> Source:
    what = (row.survey, row.night, row.rows, row.bytes, row.checksum, row.schema_id)
    file = LandedFile(row.path, row.table, *what)
    return Source(row.id, file, row.segment_id if is_first else None)


def _reconcile(connection: Connection) -> None:
    f, r = s.files.c, s.rebuilt.c
    counts: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for archive_id, table, count in connection.execute(
        select(r.archive_id, r.table, func.sum(r.rows)).group_by(r.archive_id, r.table)
    ):
        counts[archive_id][table] = int(count)
    archives = select(f.id, f.path, f.rows).where(f.table == "archive", f.removed.is_(None), f.rows > 0)
    for row in connection.execute(archives):
        if counts.pop(row.id, None) != dict.fromkeys(TABLES, row.rows):
            raise ReconciliationError(
                f"{row.path}: its {row.rows} messages did not become as many rows of each table: nothing was "
                "replaced; run finkbridge rebuild again"
            )
    if counts:
        raise ReconciliationError("files were made of an archive file that is none: nothing was replaced")
