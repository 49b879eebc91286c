"""What is new in the lake: deliveries of the commits since one, by their archive files.

The archive tells, as nothing ever changes there: merges and rebuilds give the same deliveries other files of
tables, in commits of their own. So what is new is what a drain or a requeue has added to the archive,
wherever its rows are today.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Row, select

from finkbridge.avro import predictions
from finkbridge.avro.schemas import fingerprint_of
from finkbridge.bot.state import Position
from finkbridge.catalog.sql import literal
from finkbridge.catalog.views import deliveries_select
from finkbridge.errors import DecodeError
from finkbridge.ledger import Ledger
from finkbridge.ledger import schema as s
from finkbridge.ledger.rows import chunks
from finkbridge.quiet import open_duckdb

ADOPT = "adopt"
KINDS = ("drain", "requeue", ADOPT)
"""Commits that bring messages which the ledger did not have; one that was made again adopted all."""

MOST_ROWS = 20_000
"""Of a batch, but for the last of its commits: what is held in memory at once."""
FILES_AT_ONCE = 500
PREDICTION = fingerprint_of(predictions.SCHEMA)
"""Schema of what an AI says of alerts: it is none itself, and not posted."""


Archive = Row[Any, Any, Any, Any, Any]
"""Path, rows, commit, its time and kind."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What some commits in a row brought."""

    rows: pa.Table
    """Of ``deliveries``, in the order in which they were received."""
    end: Position
    """The last of the commits."""


def end_of(ledger: Ledger) -> Position:
    """Return the newest commit."""
    return _last(ledger)


def before(ledger: Ledger, moment: float) -> Position:
    """Return the last commit before a moment (Unix seconds UTC)."""
    return _last(ledger, s.commits.c.committed_at < moment)


def knows(ledger: Ledger, position: Position) -> bool:
    """Whether it is a commit of this ledger, and not of one that was lost, or is newer than this copy."""
    if position.number == 0:
        return True
    c = s.commits.c
    query = select(c.committed_at).where(c.number == position.number)
    with ledger.reading() as connection:
        found = connection.scalar(query)
    return found is not None and abs(found - position.committed_at) < 1e-3


def batches(ledger: Ledger, position: Position) -> Iterator[Batch]:
    """Yield what came after a commit, up to the newest of now; each batch is of whole commits.

    Raises
    ------
    DecodeError
        A data file is damaged or gone.
    """
    end = end_of(ledger)
    some: list[Archive] = []
    for _, commit in groupby(_archives(ledger, position, end), lambda file: file.added):
        some += commit
        if sum(file.rows for file in some) >= MOST_ROWS:
            yield _batch(ledger, some, Position(some[-1].added, some[-1].committed_at))
            some = []
    if some or end.number > position.number:
        yield _batch(ledger, some, end)


def _last(ledger: Ledger, *conditions: Any) -> Position:
    c = s.commits.c
    query = select(c.number, c.committed_at).where(*conditions).order_by(c.number.desc()).limit(1)
    with ledger.reading() as connection:
        row = connection.execute(query).first()
    return Position(0, 0.0) if row is None else Position(*row)


def _archives(ledger: Ledger, position: Position, end: Position) -> Sequence[Archive]:
    f, c = s.files.c, s.commits.c
    query = (
        select(f.path, f.rows, f.added, c.committed_at, c.kind)
        .join(s.commits, f.added == c.number)
        .where(f.table == "archive", f.rows > 0, f.added > position.number, f.added <= end.number)
        .where(c.kind.in_(KINDS))
        .order_by(f.added, f.id)
    )
    with ledger.reading() as connection:
        return connection.execute(query).all()


def _batch(ledger: Ledger, archives: Sequence[Archive], end: Position) -> Batch:
    if not archives:
        return Batch(pa.table({}), end)
    nights = _nights(ledger, archives)
    with open_duckdb() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        try:
            connection.execute(f"CREATE VIEW deliveries AS {deliveries_select(ledger)}")
            found = [
                _rows(connection, nights, [file.path for file in some])
                for some in chunks(archives, FILES_AT_ONCE)
            ]
        except duckdb.InterruptException:
            raise KeyboardInterrupt from None
        except duckdb.Error as error:
            said = str(error).splitlines()[0]
            raise DecodeError(f"a data file of the lake cannot be read ({said}): finkbridge verify") from None
    rows = pa.concat_tables(found)
    return Batch(rows.filter(pc.not_equal(rows.column("schema_id"), PREDICTION)), end)


def _nights(ledger: Ledger, archives: Sequence[Archive]) -> list[int]:
    """Return the nights that commits have rows of: files of no other need be opened."""
    f = s.files.c
    query = select(f.night).where(f.table == "deliveries").distinct()
    if all(file.kind != ADOPT for file in archives):  # whose tables were made by a later commit
        query = query.where(f.added >= archives[0].added, f.added <= archives[-1].added)
    with ledger.reading() as connection:
        return [int(night) for night in connection.scalars(query)]


def _rows(connection: duckdb.DuckDBPyConnection, nights: list[int], archives: list[str]) -> pa.Table:
    # as constants: DuckDB leaves files of other nights alone, and rows of other archive files unread
    mine = (
        f"night IN ({', '.join(map(str, nights))}) AND archive_file IN ({', '.join(map(literal, archives))})"
    )
    order = "received, mjd, kafka_partition, kafka_offset"
    return connection.sql(f"SELECT * FROM deliveries WHERE {mine} ORDER BY {order}").to_arrow_table()  # noqa: S608
