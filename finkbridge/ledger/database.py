"""The ledger's database: how it is opened, and what it says as one line about the lake."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from finkbridge import layout
from finkbridge.disk import NETWORK_FILE_SYSTEMS, file_system, lake_is_gone
from finkbridge.errors import LakeAccessError, LakeBusyError, NoLakeError, SettingsError

BUSY_TIMEOUT_S = 30.0
"""How long SQLite waits for another writer: longer than any commit, short of a user's patience."""

RESTORE = f"put {layout.LEDGER} back from a backup, or run finkbridge rebuild --ledger --replace"
RESTORE_DATABASE = "put its database back from a backup, or empty it and run finkbridge rebuild --ledger"

FULL_BYTES = 1_000_000
"""A disk with less space than this is full: the ledger writes pages of some kB, and its log."""

_ADVICE = {
    "full": "make room, then run again; what is committed is untouched",
    "disk I/O error": "look at the disk, then run again; what is committed is untouched",
    "readonly": "give access, then run again",
    "unable to open": "give access, then run again",
    "malformed": RESTORE,
    "not a database": RESTORE,
    "no such table": RESTORE,
    "no such column": RESTORE,  # of an older one
}
"""What to do about what SQLite says."""


def _advice(said: str, lake: Path) -> str:
    if "I/O" in said and _is_full(lake):  # SQLite does not always say it
        return f"its disk is full: {_ADVICE['full']}"
    return next(
        (todo for words, todo in _ADVICE.items() if words in said), "look at the database, then run again"
    )


def _is_full(lake: Path) -> bool:
    with suppress(OSError):
        return shutil.disk_usage(lake).free < FULL_BYTES
    return False


@contextmanager
def translated(lake: Path) -> Iterator[None]:
    """Turn what the database says into one line about the lake."""
    try:
        yield
    except DataError:
        raise  # a value that the database cannot hold: no fault of the lake
    except DBAPIError as error:
        said = str(error.orig).splitlines()[0] if error.orig else type(error).__name__
        if isinstance(error, OperationalError) and "locked" in said:
            raise LakeBusyError(f"the ledger of {lake} is locked by another program: try again") from None
        advice = _advice(said, lake)
        raise LakeAccessError(f"the ledger of {lake} cannot be used: {said}: {advice}") from None


def make_folder(lake: Path) -> None:
    """Make the lake's folder if it is not there; raise LakeAccessError if it cannot be written."""
    if lake.is_dir() and not os.access(lake, os.W_OK):
        raise LakeAccessError(
            f"the lake {lake} cannot be written: give access, or choose another with --lake"
        )
    try:
        lake.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LakeAccessError(
            f"the lake {lake} cannot be made: {error.strerror}: choose another with --lake"
        ) from None


def open_sqlite(lake: Path, *, create: bool) -> Engine:
    """Return the engine of a ledger that is a file in the lake; raise NoLakeError where there is none."""
    path = lake / layout.LEDGER
    if path.exists() and not path.is_file():
        raise LakeAccessError(f"{path} is no file, where the ledger is to be: move it away, then look again")
    if (lake / layout.LAKE_ID).is_file():  # of what a file knows here, the database may know more by now
        older = f", move the older {layout.LEDGER} away" if path.is_file() else ""
        raise LakeAccessError(
            f"the ledger of {lake} is in a database, as its {layout.LAKE_ID} tells: set `ledger` "
            f"(FINKBRIDGE_LEDGER) to its URL; if it is lost{older}, remove {layout.LAKE_ID} and run "
            "finkbridge rebuild --ledger"
        )
    if not create and not path.is_file():
        raise no_lake(lake)
    if (kind := file_system(lake)) in NETWORK_FILE_SYSTEMS:
        raise LakeAccessError(
            f"the lake {lake} is on a network file system ({kind}), where SQLite's locks cannot be trusted: "
            "set `ledger` to a PostgreSQL URL"
        )
    is_mine = create or os.access(lake, os.W_OK)
    url = URL.create("sqlite", database=str(path)) if is_mine else _read_only(path)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _prepare_sqlite if is_mine else _prepare_reading)
    event.listen(engine, "begin", _begin_sqlite)
    if is_mine:
        _refuse_if_gone(engine, lake)
    return engine


def _refuse_if_gone(engine: Engine, lake: Path) -> None:
    """Let nobody write to a file that is no longer the lake's: SQLite would not notice."""
    path, key = lake / layout.LEDGER, "finkbridge_file"

    @event.listens_for(engine, "connect")
    def _note_file(_: object, record: ConnectionPoolEntry) -> None:
        record.info[key] = _file_at(path)

    @event.listens_for(engine, "begin")
    def _compare_file(connection: Connection) -> None:
        if _is_writing(connection) and connection.info[key] != _file_at(path):
            raise LakeAccessError(lake_is_gone(lake))


def _file_at(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from any other; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _read_only(path: Path) -> URL:
    """Return the URL for those who may not write beside the ledger, as SQLite does even to read."""
    query = {"uri": "true", "mode": "ro"}
    if not path.with_name(f"{path.name}-wal").exists():
        query["immutable"] = "1"  # nobody has it open: there is no log to share
    return URL.create("sqlite", database=f"file:{quote(str(path.absolute()))}", query=query)


def _prepare_reading(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite, not by the driver
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if _is_writing(connection) else "BEGIN")


def _is_writing(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("finkbridge_writing", False))


def open_postgresql(url: str) -> Engine:
    """Return the engine of a ledger in PostgreSQL, by its SQLAlchemy URL."""
    try:
        return create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1), pool_pre_ping=True)
    except (ArgumentError, ImportError, ValueError):  # their texts may hold the password
        raise SettingsError(
            "`ledger` is not the URL of a PostgreSQL database (postgresql://user@host/database), or its "
            "driver is missing: pip install 'finkbridge[postgres]'"
        ) from None


def no_lake(lake: Path) -> NoLakeError:
    """Return what to say where no lake is."""
    return NoLakeError(f"there is no lake at {lake}: run `finkbridge drain`, or name another with --lake")
