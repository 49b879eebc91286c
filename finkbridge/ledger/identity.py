"""Which lake a PostgreSQL ledger is of: a random number that both have, and no other folder.

SQLite's ledger is in its lake and needs none. The lake has the number in a file, which is moved and copied
with it; a ledger restored from a copy has it too.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from sqlalchemy import Connection, func, select

from finkbridge import disk, layout
from finkbridge.errors import LakeAccessError
from finkbridge.ledger import rows
from finkbridge.ledger import schema as s

_LAKE = "lake"
"""Key in ``meta``: the lake's number."""


def is_blank(connection: Connection) -> bool:
    """Whether a ledger knows of no topic."""
    return connection.scalar(select(func.count()).select_from(s.generations)) == 0


def refuse_other(connection: Connection, lake: Path) -> None:
    """Raise LakeAccessError where the ledger is of another lake; one that knows nothing yet is of any."""
    number = _noted(connection)
    if number is None or number == _read(lake) or is_blank(connection):
        return
    file = layout.LAKE_ID
    restore = f"; where it is this one, and its {file} was lost, echo {number:016x} > {file} in it"
    raise LakeAccessError(
        f"the ledger is of another lake than {lake}, and nothing was changed: name its own with --lake, or "
        f"another database as `ledger`{restore if _read(lake) is None else ''}"
    )


def settle(connection: Connection, lake: Path) -> None:
    """Bind a ledger that knows nothing yet to a lake, or raise LakeAccessError where it is of another.

    Parameters
    ----------
    connection
        In a transaction of the one who holds the lock: no other binds the ledger meanwhile.
    lake
        It gets its number first: of one that dies in between, the next takes it over.
    """
    refuse_other(connection, lake)
    number = _read(lake)
    if number is None:
        number = secrets.randbits(63)
        _write(lake, number)
    rows.note_fact(connection, _LAKE, number)


def _noted(connection: Connection) -> int | None:
    return connection.scalar(select(s.meta.c.value).where(s.meta.c.key == _LAKE))


def _read(lake: Path) -> int | None:
    """Return the number in a lake's file; None where there is no file, or no number in it."""
    try:
        text = (lake / layout.LAKE_ID).read_bytes().strip()
        return int(text, 16) if len(text) == 16 else None
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise LakeAccessError(f"{lake / layout.LAKE_ID} cannot be read: {error.strerror}") from None


def _write(lake: Path, number: int) -> None:
    aside = lake / f"{layout.LAKE_ID}.new"
    with disk.writing(lake):
        aside.write_text(f"{number:016x}\n")
        disk.sync_file(aside)
        aside.replace(lake / layout.LAKE_ID)
        disk.sync_folder(lake)
