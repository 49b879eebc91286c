"""The catalog is at the ledger's commit and lists exactly the files alive then; counted nights are so."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import duckdb
from sqlalchemy import or_, select

from finkbridge import layout
from finkbridge.catalog import nights
from finkbridge.catalog.sql import literal
from finkbridge.ledger import Ledger
from finkbridge.ledger import schema as s
from finkbridge.ledger.coverage import read_counts, read_nights
from finkbridge.quiet import open_duckdb
from finkbridge.verify.findings import PUBLISH, RESTORE_LEDGER, Finding
from finkbridge.verify.listed import is_held

_FILE = re.compile(r"'((?:deliveries|packets)/[^']*\.parquet)'")
TRIES = 3
"""A running drain may publish between our two looks."""


def check_catalog(ledger: Ledger) -> Iterator[Finding | str]:
    """Yield what is wrong with ``catalog.duckdb``; what a running drain will mend is a line."""
    problem, held = None, is_held(ledger)
    for _ in range(TRIES if held else 1):
        try:
            problem = _problem(ledger)
        except duckdb.IOException as error:
            if "lock" in str(error).lower():
                yield f"{layout.CATALOG}: another program has it open for writing, so it was not looked at"
                return
            problem = f"cannot be read ({_line(error)})"
        except duckdb.Error as error:
            problem = f"is damaged ({_line(error)})"
        if problem is None:
            return
    if held or is_held(ledger):
        yield f"{layout.CATALOG}: {problem}; the drain that runs writes it anew"
    elif problem is not None:
        yield Finding("catalog", layout.CATALOG, problem, PUBLISH)


def check_counts(ledger: Ledger) -> Iterator[Finding]:
    """Yield the nights that were counted, after they closed, and have other counts."""
    rows = read_nights(ledger)
    known = list(nights.valid(rows, read_counts(ledger)).items())
    with tempfile.TemporaryDirectory(prefix="finkbridge-") as spill:
        for at in range(0, len(known), nights.COUNTED_AT_ONCE):
            some = dict(known[at : at + nights.COUNTED_AT_ONCE])
            now = nights.counted(ledger, {key: rows[key] for key in some}, Path(spill))
            later = read_nights(ledger)  # what has got rows meanwhile is counted anew by who wrote them
            for key, counts in some.items():
                if later.get(key) == rows[key] and key in now and now[key] != counts:
                    problem = f"is {astuple(now[key])}, and the ledger says {astuple(counts)}"
                    where = f"count of night {key[1]} of {key[0]}"
                    yield Finding("counts", where, problem, RESTORE_LEDGER)


def _problem(ledger: Ledger) -> str | None:
    path, last = ledger.lake / layout.CATALOG, ledger.last_commit()
    with ledger.reading() as connection:
        at = connection.scalar(select(s.meta.c.value).where(s.meta.c.key == "published")) or 0
    if not path.is_file():
        return "is not there" if last else None
    with open_duckdb(path, read_only=True) as catalog:
        views = catalog.execute("SELECT sql FROM duckdb_views() WHERE NOT internal").fetchall()
    text = "\n".join(sql for (sql,) in views)
    listed = set(_FILE.findall(text))
    alive = _alive_at(ledger, at)
    if extra := sorted(listed - alive):
        return f"lists {len(extra)} files that are not in the lake's commit {at}, such as {extra[0]}"
    if missing := sorted(alive - listed):
        return f"does not list {len(missing)} files of the lake, such as {missing[0]}"
    if listed and literal(str(ledger.lake.resolve())) not in text:
        return "was written for a lake in another place"
    return None if at == last else f"is at commit {at}, and the ledger at {last}"


def _alive_at(ledger: Ledger, commit: int) -> set[str]:
    f = s.files.c
    was_alive = or_(f.removed.is_(None), f.removed > commit)
    is_table = f.table.in_(("deliveries", "packets"))
    query = select(f.path).where(is_table, f.added <= commit, was_alive)
    with ledger.reading() as connection:
        return set(connection.scalars(query))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
