"""The files that the ledger lists: read in pages, so that no transaction stays open while files are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, func, select, text

from finkbridge import layout
from finkbridge.errors import SettingsError
from finkbridge.ledger import Ledger
from finkbridge.ledger import schema as s
from finkbridge.ledger.locks import ADVISORY_LOCK
from finkbridge.ledger.summary import has_coordinator
from finkbridge.verify.findings import Scope

PAGE_ROWS = 2_000
_IDS_AT_ONCE = 1_000
_LOCKS = Path("/proc/locks")


@dataclass(frozen=True, slots=True)
class Selection:
    """A scope as the ledger's row ids; None is all."""

    segments: frozenset[int] | None
    survey_nights: frozenset[tuple[str, int]] | None

    def has(self, file: Row[Any]) -> bool:
        """Whether a file is in scope: a merged one by the night it is of."""
        if self.segments is None or self.survey_nights is None:
            return True
        if file.night is not None and (file.survey, file.night) not in self.survey_nights:
            return False
        return file.segment_id is None or file.segment_id in self.segments


def select_scope(ledger: Ledger, scope: Scope) -> Selection:
    """Find the segments, and the nights of each survey, that a scope has."""
    if scope.is_all:
        return Selection(None, None)
    f, c, g = s.files.c, s.segments.c, s.generations.c
    query = select(f.segment_id, f.survey, f.night, g.topic).select_from(
        s.files.join(s.segments, f.segment_id == c.id).join(s.generations)
    )
    with ledger.reading() as connection:
        rows = [
            r
            for r in connection.execution_options(yield_per=PAGE_ROWS).execute(query)
            if scope.has_topic(r.topic) and scope.has_night(r.night)
        ]
    if not rows:
        raise SettingsError(f"the lake has nothing of {scope}: finkbridge certificate lists its nights")
    nights = frozenset((r.survey, r.night) for r in rows if r.night is not None)
    return Selection(frozenset(r.segment_id for r in rows), nights)


def pages(ledger: Ledger, selection: Selection, *, only_alive: bool = False) -> Iterator[list[Row[Any]]]:
    """Yield the files that are or may be on disk, as of now, in pages."""
    f, last = s.files.c, 0
    condition = f.removed.is_(None) if only_alive else f.deleted_at.is_(None)
    commit = ledger.last_commit()
    while True:
        query = select(s.files).where(f.id > last, f.added <= commit, condition).order_by(f.id)
        with ledger.reading() as connection:
            rows = connection.execute(query.limit(PAGE_ROWS)).all()
        if not rows:
            return
        last = rows[-1].id
        yield [row for row in rows if selection.has(row)]


def total_bytes(ledger: Ledger) -> int:
    """Return the bytes of all files that are or may be on disk."""
    query = select(func.sum(s.files.c.bytes)).where(s.files.c.deleted_at.is_(None))
    with ledger.reading() as connection:
        return int(connection.scalar(query) or 0)


def again(ledger: Ledger, file: Row[Any]) -> Row[Any] | None:
    """Read a file's row again: what was suspicious may have been retired meanwhile."""
    with ledger.reading() as connection:
        return connection.execute(select(s.files).where(s.files.c.id == file.id)).first()


def listed_now(ledger: Ledger, paths: Iterable[str]) -> dict[str, float | None]:
    """Return when the listed ones of paths were deleted; None for those that are or may be on disk."""
    found: dict[str, float | None] = {}
    f, rest = s.files.c, iter(paths)
    while some := list(islice(rest, _IDS_AT_ONCE)):
        ours = [path for path in some if path.isprintable()]  # surrogates, for one, are in no database
        with ledger.reading() as connection:
            rows = connection.execute(select(f.path, f.deleted_at).where(f.path.in_(ours)))
            found |= {row.path: row.deleted_at for row in rows}
    return found


def unlisted(ledger: Ledger, paths: Iterable[str]) -> list[str]:
    """Return the paths that the ledger does not list as on disk; the others are not kept in memory."""
    unknown: list[str] = []
    rest = iter(paths)
    while some := list(islice(rest, _IDS_AT_ONCE)):
        listed = listed_now(ledger, some)
        unknown += [path for path in some if listed.get(path, 0.0) is not None]
    return unknown


def is_held(ledger: Ledger) -> bool:
    """Whether a coordinator has the lake now; trying its lock could refuse it to another."""
    if ledger.is_sqlite:
        return has_coordinator(ledger) and _is_flocked(ledger.lake / layout.LOCK)
    with ledger.reading() as connection:
        return _is_locked(connection)


def _is_flocked(path: Path) -> bool:
    """Look whether anybody locks a file, where the system tells: the number in it may be another's by now."""
    if not _LOCKS.is_file():
        return True
    inode = f":{path.stat().st_ino}"
    rows = [line.split() for line in _LOCKS.read_text().splitlines()]
    return any(row[1] == "FLOCK" and row[5].endswith(inode) for row in rows if len(row) > 5)


def _is_locked(connection: Connection) -> bool:
    query = text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = :key AND classid = 0 "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return bool(connection.scalar(query, {"key": ADVISORY_LOCK}))
