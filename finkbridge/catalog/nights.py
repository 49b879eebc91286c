"""The view ``nights``: one row a survey's night, with its counts and whether it is complete.

Counting distinct alerts of a year takes many seconds, of one night a twentieth. So a night is counted once,
after it closed, when the catalog is published, and again only if it got rows since; the view itself counts
the few nights that are open, when it is asked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from itertools import islice
from pathlib import Path

import duckdb
import pyarrow as pa

from finkbridge import layout
from finkbridge.blockers import Rules
from finkbridge.catalog import views
from finkbridge.ledger import Coordinator, Ledger, seen
from finkbridge.ledger.coverage import Counts, read_counts, read_nights, write_counts
from finkbridge.nights import Verdict, night_of, verdicts
from finkbridge.quiet import open_duckdb

log = logging.getLogger(__name__)

MEMORY = "400MB"
COUNTED_AT_ONCE = 16
"""Nights that one publishing counts at most: the others wait for the next ones."""

Key = tuple[str, int]
"""Survey and night."""

_FACTS = pa.schema(
    [
        ("survey", pa.string()),
        ("night", pa.int32()),
        ("rows", pa.int64()),
        ("quarantined", pa.int64()),
        ("gaps", pa.int64()),
        ("complete", pa.bool_()),
        ("why", pa.string()),
        ("alerts", pa.int64()),
        ("duplicates", pa.int64()),
        ("first_ms", pa.int64()),
        ("last_ms", pa.int64()),
    ]
)
"""Of the table ``night_facts``; the last four are null where the view has to count."""

_COUNTING = (
    "SELECT survey, night, count(DISTINCT source_id) AS alerts, "
    "CAST(coalesce(sum(n - 1) FILTER (source_id IS NOT NULL), 0) AS BIGINT) AS duplicates, "
    "min(first_ms) AS first_ms, max(last_ms) AS last_ms FROM ("
    "SELECT survey, night, source_id, cluster, topic, count(*) AS n, "
    "epoch_ms(min(received)) AS first_ms, epoch_ms(max(received)) AS last_ms "
    "FROM deliveries WHERE night IN ({nights}) GROUP BY ALL) GROUP BY ALL"
)
"""Rows by alert and topic first: that needs half the time of two distinct counts."""

_VIEW = (
    "CREATE VIEW nights AS SELECT f.survey, f.night, f.rows, coalesce(f.alerts, c.alerts) AS alerts, "
    "coalesce(f.duplicates, c.duplicates) AS duplicates, f.quarantined, f.gaps, f.complete, f.why, "
    "make_timestamptz(1000 * coalesce(f.first_ms, c.first_ms)) AS first_received, "
    "make_timestamptz(1000 * coalesce(f.last_ms, c.last_ms)) AS last_received "
    "FROM night_facts f LEFT JOIN ({counting}) c USING (survey, night) ORDER BY ALL"
)


NAMES = ("nights", "night_facts")
"""What `define` makes."""
_NONE = Counts(0, 0, 0, None, None)


def define(connection: duckdb.DuckDBPyConnection, ledger: Ledger, rules: Rules, *, filled: bool) -> None:
    """Make the view, over the view ``deliveries``; not `filled`, it is empty."""
    found = verdicts(ledger, rules) if filled else []
    known = valid({_key(v): v.rows for v in found}, read_counts(ledger)) if filled else {}
    known |= {_key(v): _NONE for v in found if not v.rows}
    rows = [_fact(v, known.get(_key(v))) for v in found]
    columns = list(zip(*rows, strict=True)) or [()] * len(_FACTS)
    connection.register("copied", pa.table(list(map(pa.array, columns, _FACTS.types)), schema=_FACTS))
    connection.execute("CREATE TABLE night_facts AS FROM copied")
    connection.unregister("copied")
    open_nights = [v.night.night for v in found if _key(v) not in known]
    connection.execute(_VIEW.format(counting=_counting(open_nights)))


def note_published(coordinator: Coordinator) -> None:
    """Note that the published catalog tells of nights what is known."""
    with coordinator.writing() as connection:
        seen.note_nights_published(connection)


def count_closed(coordinator: Coordinator, rules: Rules) -> None:
    """Count the nights that are over and got rows since they were counted, and write it down."""
    ledger, now = coordinator.ledger, time.time()
    rows = read_nights(ledger)
    known = valid(rows, read_counts(ledger))
    over = [key for key in reversed(rows) if night_of(*key, rules).closes_at <= now]
    wanted = {key: rows[key] for key in over if key not in known}
    if wanted:
        some = dict(islice(wanted.items(), COUNTED_AT_ONCE))
        with coordinator.writing() as connection:
            (ledger.lake / layout.SCRATCH).mkdir(exist_ok=True)
            write_counts(connection, counted(ledger, some, ledger.lake / layout.SCRATCH))


def counted(ledger: Ledger, rows: Mapping[Key, int], spill: Path) -> dict[Key, Counts]:
    """Count nights that have so many rows; none where a file cannot be read, which is `verify`'s to tell.

    Parameters
    ----------
    ledger
        Of the lake.
    rows
        By survey and night.
    spill
        Folder for what does not fit into memory.
    """
    try:
        with open_duckdb(config=_modest(spill)) as connection:
            connection.execute(f"CREATE VIEW deliveries AS {views.deliveries_select(ledger)}")
            told = connection.execute(_counting(night for _, night in rows)).fetchall()
    except duckdb.Error as error:
        log.warning(
            "the rows of nights cannot be counted: %s: run finkbridge verify", str(error).splitlines()[0]
        )
        return {}
    found = {(survey, night): counts for survey, night, *counts in told}
    return {key: Counts(rows[key], *found[key]) for key in rows if key in found}


def valid(rows: Mapping[Key, int], known: Mapping[Key, Counts]) -> dict[Key, Counts]:
    """Return the counts of nights that got no rows since they were counted."""
    return {key: counts for key, counts in known.items() if rows.get(key) == counts.rows}


def _modest(spill: Path) -> dict[str, str]:
    """Return settings with which DuckDB leaves memory to the workers."""
    return {"memory_limit": MEMORY, "temp_directory": str(spill)}


def _counting(nights: Iterable[int]) -> str:
    named = ", ".join(str(night) for night in sorted(set(nights))) or "NULL"
    return _COUNTING.format(nights=named)


def _fact(verdict: Verdict, counts: Counts | None) -> tuple[object, ...]:
    night = verdict.night
    counted = (None,) * 4 if counts is None else astuple(counts)[1:]
    return (
        night.survey,
        night.night,
        verdict.rows,
        verdict.quarantined,
        verdict.gaps,
        verdict.complete,
        verdict.why,
        *counted,
    )


def _key(verdict: Verdict) -> Key:
    return verdict.night.survey, verdict.night.night
