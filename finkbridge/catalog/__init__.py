"""Step 7 of the way through the house: ``catalog.duckdb``, over exactly the files that the ledger lists.

The catalog is disposable: it follows from the ledger alone and is made anew at will.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

import duckdb

from finkbridge import disk, layout
from finkbridge.blockers import Rules
from finkbridge.catalog import bookkeeping, carried, nights, views
from finkbridge.catalog.carried import Before
from finkbridge.catalog.sql import literal
from finkbridge.catalog.views import Definition
from finkbridge.disk import Staging
from finkbridge.errors import LakeAccessError
from finkbridge.ledger import Coordinator, Ledger
from finkbridge.quiet import open_duckdb
from finkbridge.settings import Settings

log = logging.getLogger(__name__)

STORAGE_VERSION = "v1.2.0"
"""Of the catalog's file: DuckDB since 1.2 opens it."""


def publish(coordinator: Coordinator, settings: Settings | None = None) -> list[str]:
    """Write the catalog beside the old one, and replace it in one rename.

    Parameters
    ----------
    coordinator
        Of the lake.
    settings
        They tell of nights.

    Returns
    -------
    list
        A line for each view that DuckDB refuses: it is there, and empty.
    """
    rules = Rules.of(settings)
    nights.count_closed(coordinator, rules)
    lake = coordinator.ledger.lake
    commit, final = coordinator.ledger.last_commit(), lake / layout.CATALOG
    with disk.staging(lake) as place:
        aside, refused = _written(place, coordinator, rules)
        disk.sync_file(aside)
        disk.replace_file(aside, final)
        # a shell that had the old file open for writing may have left its log, which is of no other file
        final.with_name(final.name + ".wal").unlink(missing_ok=True)
    coordinator.note_published(commit, final.stat().st_mtime_ns)
    nights.note_published(coordinator)
    return refused


def connect(
    ledger: Ledger, query: str | None = None, settings: Settings | None = None
) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection in memory with the catalog's views, whoever holds the catalog's file.

    Bookkeeping tables that the query, if it is told, does not name are left empty: filling them takes longer
    than most queries.
    """
    connection = open_duckdb()
    named = bookkeeping.NAMES if query is None else bookkeeping.named_in(query)
    for problem in _define(connection, ledger, named):
        log.warning("%s", problem)
    is_asked = query is None or any(name in query.lower() for name in nights.NAMES)
    nights.define(connection, ledger, Rules.of(settings), filled=is_asked)
    return connection


def _written(place: Staging, coordinator: Coordinator, rules: Rules) -> tuple[Path, list[str]]:
    """Write the new catalog aside: with what the old one has, or all of it where the old one is of no use.

    Returns the file, and a line for each view that DuckDB refuses.
    """
    if before := carried.before(coordinator):
        aside = place.new(".duckdb")
        try:
            refused = _write(aside, coordinator.ledger, rules, before)
        except duckdb.Error as error:  # damaged, or of another finkbridge: the ledger has it all
            log.debug("the catalog is written anew, as the old one cannot be read: %s", error)
        else:
            return aside, refused
    aside = place.new(".duckdb")
    try:
        return aside, _write(aside, coordinator.ledger, rules, None)
    except duckdb.OperationalError as error:  # IOException, or what a commit makes of it
        raise LakeAccessError(
            f"the catalog of {coordinator.ledger.lake} cannot be written ({_first_line(error)}): make room "
            "or give access, then run `finkbridge catalog`; what has landed is committed"
        ) from None


def _write(path: Path, ledger: Ledger, rules: Rules, before: Before | None) -> list[str]:
    with open_duckdb() as connection:
        if before:
            connection.execute(f"ATTACH {literal(str(before.file))} AS {carried.OLD} (READ_ONLY)")
        connection.execute(f"ATTACH {literal(str(path))} AS new (STORAGE_VERSION '{STORAGE_VERSION}')")
        connection.execute("USE new")
        refused = _define(connection, ledger, bookkeeping.NAMES, before)
        nights.define(connection, ledger, rules, filled=True)
        connection.execute("USE memory")
        connection.execute("DETACH new")
    return refused


def _define(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    filled: Collection[str],
    before: Before | None = None,
) -> list[str]:
    """Make all tables, views and macros; return a line for each that DuckDB refuses."""
    bookkeeping.copy_all(connection, ledger, filled, before)
    made = (_make(connection, definition) for definition in views.definitions(ledger))
    return [problem for problem in made if problem]


def _make(connection: duckdb.DuckDBPyConnection, definition: Definition) -> str:
    """Make a view, an empty one where DuckDB refuses it: then say why."""
    try:
        connection.execute(definition.sql)
    except duckdb.IOException as error:
        raise LakeAccessError(
            f"a data file of the ledger cannot be read ({_first_line(error)}): put it back from a "
            "backup, or run finkbridge rebuild, which makes the tables again"
        ) from None
    except duckdb.Error as error:
        connection.execute(definition.empty)
        return (
            f"DuckDB refuses the view {definition.name}, which is empty ({_first_line(error)}): "
            "finkbridge.scan reads its files; report a bug"
        )
    return ""


def _first_line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0]
