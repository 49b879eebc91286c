"""What the ledger's database itself says of its health."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

from finkbridge.ledger import Ledger
from finkbridge.ledger import schema as s
from finkbridge.verify.findings import RESTORE_LEDGER, Finding

_NOT_SOUND_ON_POSTGRESQL = """
    SELECT 'index ' || indexrelid::regclass || ' is not valid' FROM pg_index WHERE NOT indisvalid
    UNION ALL
    SELECT 'constraint ' || conname || ' was never checked' FROM pg_constraint WHERE NOT convalidated
"""


def check_database(ledger: Ledger) -> Iterator[Finding]:
    """Yield what the database's own checks find; reads every page of it."""
    with ledger.reading() as connection:
        problems = list((_sqlite if ledger.is_sqlite else _postgresql)(connection))
    for problem in problems:
        yield Finding("ledger", "ledger", problem, RESTORE_LEDGER)


def _sqlite(connection: Connection) -> Iterator[str]:
    for (said,) in connection.exec_driver_sql("PRAGMA integrity_check"):
        if said != "ok":
            yield f"the database is damaged ({said})"
    for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield f"row {row} of {table} refers to a row of {parent} that is not there"


def _postgresql(connection: Connection) -> Iterator[str]:
    """Read every row, which checks the pages' checksums where the server has them."""
    for table in s.metadata.sorted_tables:
        name = f'"{table.name}"'
        connection.execute(text(f"SELECT sum(length({name}::text)) FROM {name}"))  # noqa: S608 - names of ours
    yield from connection.scalars(text(_NOT_SOUND_ON_POSTGRESQL))
