"""Whatever is changed in any table of the ledger is seen, or named here as what nothing could tell."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Table

from finkbridge import catalog, layout
from finkbridge.errors import LakeError
from finkbridge.ledger import Ledger, coordinate, schema, seen
from finkbridge.ledger.quarantined import Selection
from finkbridge.quarantine.requeue import accept, requeue
from finkbridge.rebuild import rebuild
from finkbridge.retire import delete_replaced
from finkbridge.values import Message, OffsetRange
from finkbridge.verify import verify
from tests.support.offline import (
    POINT_KEY,
    TIME_MS,
    fill,
    generation_of,
    messages_of,
    plan_of,
    point,
    settings_of,
)
from tests.verify.lakes import merge_all

pytestmark = pytest.mark.slow

RUNS = "a report for people: nothing is decided by it"
CLOCK = "a time that only this machine's clock told"
DELAY = "bounds of Kafka's times of messages, many of which may be in merged files"
BROKER = "what only the broker could tell, then"
LATER = "a night counts as not complete until the next look"
AGAIN = "made again by the next run"
OPEN = (
    "of a plan that is open or was given up: a commit compares it with the lake's end, so nothing comes of it"
)
NAME = "a number by which nothing else in the ledger knows the row"
GROWS = "a larger one does no harm: it need only grow"
UNSEEN: dict[str, dict[str, str]] = {
    "meta": {
        "value of epoch changed": GROWS,
        "value of nights_stale changed": AGAIN,
        "value of published_mtime_ns changed": AGAIN,
        'value of searched ["ztf", "fink_*"] changed': CLOCK,
        "row of nights_stale deleted": AGAIN,
        "row of published_mtime_ns deleted": AGAIN,
        'row of searched ["ztf", "fink_*"] deleted': LATER,
    },
    "numbers": {"last of plan changed": GROWS},
    "commits": {"epoch changed": GROWS, "committed_at changed": CLOCK},
    "generations": {
        "topic_id changed": BROKER, "topic_id nulled": BROKER, "first_seen changed": CLOCK,
    },
    "generation_surveys": {"after_start_s changed": DELAY, "after_end_s changed": DELAY},
    "looks": {
        "generation_id changed": BROKER,
        "first_at changed": CLOCK, "seen_at changed": CLOCK, "reached_at changed": CLOCK,
        "gone_at changed": CLOCK, "seen_end changed": BROKER, "gone_at nulled": AGAIN,
        "first_ms nulled": AGAIN, "reached_at nulled": LATER, "row deleted": LATER,
    },
    "night_counts": {"row deleted": AGAIN},
    "plans": {"byte_limit changed": OPEN, "generation_id changed": OPEN, "planned_at changed": CLOCK},
    "plan_ranges": {
        "partition changed": OPEN, "start_offset changed": OPEN, "end_offset changed": OPEN,
        "row deleted": OPEN,
    },
    "files": {
        "id changed": NAME, "deleted_at changed": CLOCK,
        "deleted_at nulled": "told in a note, and mended by the next run",
    },
    "schemas": {"first_seen changed": CLOCK},
    "gaps": {"id changed": NAME, "reason changed": "a text for people"},
    "quarantine": {"id changed": NAME},
    "runs": {
        **{f"{name} changed": RUNS for name in (c.name for c in schema.runs.c) if name != "summary"},
        "ended_at nulled": RUNS, "row deleted": RUNS,
    },
}  # fmt: skip
"""By table: what nothing shows, and why. docs/operations.md tells the same."""


def make(lake: Path) -> None:
    """Make a lake in which each table of the ledger has rows, of as many kinds as there are."""
    bad = [(POINT_KEY, b"rubbish"), (None, point(5.0)[1]), (POINT_KEY, b"never")]
    messages = messages_of([point(1.0), *bad, point(2.0)]) + messages_of([point(3.0), point(4.0)], 1, 7)
    messages.append(Message(1, 12, TIME_MS + 40, 1, POINT_KEY, point(6.0)[1]))  # behind a hole
    for upto in (3, 99):
        fill(lake, {"t": [m for m in messages if m.offset < 7 + upto]}, offsets=3)
    fill(lake, {"u": messages_of([point(8.0)])})
    settings = settings_of(lake)
    assert requeue(settings, Selection(("t:0:2",)), POINT_KEY).landed == 1
    assert len(accept(settings, Selection(("t:0:3",)))) == 1
    merge_all(lake)
    with Ledger(lake) as ledger, coordinate(ledger) as coordinator:
        delete_replaced(coordinator, 0)
        known = generation_of(coordinator, "t")
        coordinator.note_topic_id(known, "an-id")
        coordinator.commit_gap(known, OffsetRange(1, 13, 15), "expired")
        coordinator.abandon([plan_of(coordinator, "t", [OffsetRange(1, 15, 16)])])
        plan_of(coordinator, "t", [OffsetRange(0, 5, 6), OffsetRange(1, 15, 17)])
        with coordinator.writing() as connection:
            ends = {(known.row_id, 0): 5, (known.row_id, 1): 15}
            for at in (time.time() - 9000, time.time() - 5000, time.time() - 9):
                seen.note_looks(connection, ends, at)
            seen.note_searched(connection, {("ztf", "fink_*"): time.time()})
            seen.note_gone(connection, [known.row_id], time.time())
        coordinator.end_run(coordinator.start_run("drain"), "done", {})
    assert not rebuild(settings).problems
    with Ledger(lake) as ledger, coordinate(ledger) as coordinator:
        catalog.publish(coordinator)
    with closing(sqlite3.connect(lake / layout.LEDGER)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("damaged") / "lake"
    make(path)
    assert verify(path, None).findings == []
    shutil.copy(path / layout.LEDGER, path.parent / "whole.db")
    return path


def damage(lake: Path, statement: str) -> bool:
    """Change the ledger as no program of ours would; whether the database let it be changed."""
    for old in lake.glob(f"{layout.LEDGER}*"):
        old.unlink()
    shutil.copy(lake.parent / "whole.db", lake / layout.LEDGER)
    with closing(sqlite3.connect(lake / layout.LEDGER, isolation_level=None)) as connection:
        try:
            return connection.execute(statement).rowcount > 0
        except sqlite3.IntegrityError:
            return False


def is_seen(lake: Path) -> bool:
    try:
        return not verify(lake, None).holds
    except LakeError:
        return True


def damages(lake: Path, table: Table) -> Iterator[tuple[str, str]]:
    """Yield name and statement of each damage: to the first row and the last, or to each that has a name."""
    name = f'"{table.name}"'
    if table.name in ("meta", "numbers"):
        key = "key" if table.name == "meta" else "name"
        with closing(sqlite3.connect(lake.parent / "whole.db")) as connection:
            keys = [row[0] for row in connection.execute(f"SELECT {key} FROM {name}")]
        rows = [(f" of {row}", f"{key} = '{row}'") for row in keys]
    else:
        rows = [
            ("", f"rowid = (SELECT {end}(rowid) FROM {name} WHERE {{0}} IS NOT NULL)")
            for end in ("min", "max")
        ]
    for label, row in rows:
        yield f"row{label} deleted", f"DELETE FROM {name} WHERE {row.format('rowid')}"
        for column in table.c:
            mine = row.format(f'"{column.name}"')
            yield f"{column.name}{label} changed", f"UPDATE {name} SET {_changed(column)} WHERE {mine}"
            if column.nullable:
                yield f"{column.name}{label} nulled", f'UPDATE {name} SET "{column.name}" = NULL WHERE {mine}'


def _changed(column: Column[Any]) -> str:
    value = {str: "{0} || 'x'", bytes: "CAST({0} || 'x' AS BLOB)"}.get(column.type.python_type, "{0} + 1")
    return f'"{column.name}" = ' + value.format(f'"{column.name}"')


@pytest.mark.parametrize("table", schema.metadata.sorted_tables, ids=lambda table: str(table.name))
def test_each_column_of_each_table(lake: Path, table: Table) -> None:
    unseen = {
        name for name, statement in damages(lake, table) if damage(lake, statement) and not is_seen(lake)
    }
    assert unseen == set(UNSEEN.get(table.name, ()))


def test_every_table_has_rows(lake: Path) -> None:
    """Else nothing could be damaged; of `merging` and `rebuilt` only what is under way has rows."""
    with closing(sqlite3.connect(lake.parent / "whole.db")) as connection:
        empty = {
            table
            for table in schema.metadata.tables
            if not connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
        }
    assert empty == {"merging", "rebuilt"}
