"""Exchanges a lake's ledger for one that was made beside it: a whole ledger has its name all the time."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path

from finkbridge import disk, layout
from finkbridge.errors import LakeAccessError

_LOGS = ("-wal", "-shm")


@contextmanager
def beside(lake: Path) -> Iterator[Path]:
    """Give a folder that a new ledger is made in: in the lake, so that it is moved by its name alone."""
    try:
        yield _beside(lake)
    finally:
        shutil.rmtree(_beside(lake), ignore_errors=True)


def exchange(lake: Path) -> str:
    """Give the ledger that is beside its place; return the name that the old one has now, if there was one.

    Nobody may have either of them open.
    """
    old, new = lake / layout.LEDGER, _beside(lake) / layout.LEDGER
    with disk.writing(lake):
        _make_whole(new)
        disk.sync_file(new)
        aside = _set_aside(old) if old.exists() else ""
        try:
            new.replace(old)
            disk.sync_folder(lake)
        except BaseException:
            if aside:
                _name_again(lake / aside, old)
            raise
    return aside


def put_back(lake: Path, aside: str, made: Iterable[str]) -> None:
    """Undo an exchange, and delete the files that the new ledger alone knows of."""
    ledger = lake / layout.LEDGER
    with disk.writing(lake):
        for path in made:
            (lake / path).unlink(missing_ok=True)
        disk.clear_scratch(lake)
        for suffix in _LOGS:
            _beside_name(ledger, suffix).unlink(missing_ok=True)
        _name_again(lake / aside, ledger)
        disk.sync_folder(lake)


def _beside(lake: Path) -> Path:
    return lake / layout.NEW_LEDGER


def _set_aside(old: Path) -> str:
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(old)) as connection:
        _settle(connection)  # what is in its log goes with it
    new = _free_name(old)
    try:
        os.link(old, new)
    except OSError:  # a file system without links
        old.rename(new)
    _rename_logs(old, new)  # of one that is no database: a log is found by its name
    return new.name


def _name_again(aside: Path, old: Path) -> None:
    aside.replace(old)
    aside.unlink(missing_ok=True)  # a rename leaves two names of one file as they are
    _rename_logs(aside, old)


def _make_whole(new: Path) -> None:
    """Have all of a ledger in its one file, as it is moved without its log."""
    try:
        with closing(sqlite3.connect(new)) as connection:
            if not _settle(connection):
                raise LakeAccessError(f"{new} is open in another program: end that, then run again")
            said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        is_full = error.sqlite_errorcode == sqlite3.SQLITE_FULL
        raise OSError(errno.ENOSPC if is_full else errno.EIO, f"the new ledger: {error}") from None
    if said != "ok":
        raise OSError(errno.EIO, f"the new ledger: {said}")


def _settle(connection: sqlite3.Connection) -> bool:
    """Move what is in the log of a ledger to the ledger; return whether that was all of it."""
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def _rename_logs(old: Path, new: Path) -> None:
    for suffix in _LOGS:
        if (log := _beside_name(old, suffix)).exists():
            log.rename(_beside_name(new, suffix))


def _beside_name(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _free_name(old: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = (old.with_name(f"{old.name}.{stamp}{f'.{n}' if n else ''}") for n in count())
    return next(path for path in names if not path.exists())
