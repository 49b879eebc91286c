"""One coordinator at a time: a flock beside SQLite, an advisory lock in PostgreSQL."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from finkbridge import layout
from finkbridge.errors import LakeAccessError, LakeBusyError
from finkbridge.ledger.database import translated
from finkbridge.ledger.store import Ledger

ADVISORY_LOCK = 0x66696E6B  # "fink": one ledger a database


def held(ledger: Ledger) -> AbstractContextManager[None]:
    """Return the lock of a lake; entering it raises LakeBusyError where another process has it."""
    return flock(ledger.lake) if ledger.is_sqlite else _advisory_lock(ledger)


@contextmanager
def flock(lake: Path) -> Iterator[None]:
    """Hold the lock of a lake whose ledger is SQLite, whether or not it has one."""
    path = lake / layout.LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LakeAccessError(f"the lake {lake} is not writable: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 100, 0).decode(errors="replace").strip()
            raise _busy(lake, f"process {holder or 'unknown'}") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _advisory_lock(ledger: Ledger) -> Iterator[None]:
    with translated(ledger.lake), ledger.engine.connect() as connection:
        if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": ADVISORY_LOCK}):
            raise _busy(ledger.lake, "a process on this or another machine")
        connection.commit()  # the lock belongs to the connection, not to the transaction
        try:
            yield
        finally:
            with suppress(DBAPIError):  # a server that is gone has no lock any more
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})
                connection.commit()


def _busy(lake: Path, holder: str) -> LakeBusyError:
    return LakeBusyError(
        f"the lake {lake} is being written by {holder}: nothing was changed; wait for it, or end it"
    )
