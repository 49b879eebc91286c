"""What the demo does and prints: drains of simulated alerts, answers in SQL, a light curve."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import duckdb

from finkbridge import layout
from finkbridge.cli import output
from finkbridge.cli.group import run_group
from finkbridge.cli.interrupting import heed_interrupt
from finkbridge.demo import DRAINS, PORTION, World, demo_world
from finkbridge.drain import drain
from finkbridge.errors import FinkbridgeError
from finkbridge.quiet import open_duckdb
from finkbridge.report import DrainReport

QUESTIONS = (
    (
        "How many alerts, by survey and night?",
        """SELECT survey, night, count(*) AS alerts, sum(deliveries) AS deliveries
        FROM alerts GROUP BY ALL ORDER BY ALL""",
    ),
    (
        "Which alerts did more than one filter let through?",
        """SELECT object_id, band, round(mag, 2) AS mag, topics
        FROM alerts WHERE len(topics) > 1 ORDER BY mag, source_id LIMIT 5""",
    ),
    (
        "The most reliable LSST sources?",
        """SELECT object_id, band, round(flux) AS flux_nJy, round(reliability, 3) AS reliability
        FROM alerts WHERE survey = 'lsst' ORDER BY reliability DESC, object_id LIMIT 5""",
    ),
)
BEST_OBJECT = (
    "SELECT object_id FROM alerts WHERE survey = 'ztf' AND len(topics) > 1 "
    "GROUP BY object_id ORDER BY max(n_det) DESC, object_id LIMIT 1"
)
LIGHTCURVE = (
    "SELECT printf('%.4f', mjd) AS mjd, band, round(mag, 2) AS mag, round(mag_err, 2) AS mag_err, kind "
    "FROM lightcurve(?) WHERE mag IS NOT NULL ORDER BY mjd LIMIT 12"
)

PLACES = (
    ("{lake}/archive", "every message, byte for byte, as Avro"),
    ("{lake}/deliveries", "one thin row a message, Parquet by survey and night"),
    ("{lake}/packets", "whole alerts without cutouts, Parquet by survey and night"),
    ("{lake}/{catalog}", "views over all of it"),
)
NEXT = (
    ("make ui-demo", "the Dagster UI over a live stream of such alerts"),
    ("duckdb -readonly {lake}/{catalog}", "DuckDB's shell, if you have it: FROM alerts LIMIT 5;"),
    (".venv/bin/finkbridge --lake {lake} sql 'FROM topics'", "the same without it"),
    (".venv/bin/python examples/counts.py {lake}", "polars and DuckDB scripts"),
)


def run(folder: Path, seed: int, behind: Sequence[str] | None) -> int:
    """Show all of it, or run a command with broker and steady alerts behind it; return the exit code."""
    with demo_world(folder, seed, endless=behind is not None) as world:
        if behind is not None:
            return _run_behind(world, behind)
        for number in range(1, DRAINS + 1):
            _drain_portion(world, number)
        _answer(world)
    _say_what_next(world)
    return 0


def _drain_portion(world: World, number: int) -> None:
    heed_interrupt()
    messages = sum(world.produce(survey, count) for survey, count in PORTION.items())
    click.echo(f"\nPortion {number}: {messages} messages produced. Drain {number}:\n")
    report = drain(world.settings)
    heed_interrupt()
    _print_report(report)
    if not report.succeeded or report.total("messages") != messages:
        drained = f"the demo drained {report.total('messages')} of {messages} messages"
        raise FinkbridgeError("; ".join([drained, *report.problems]))


def _print_report(report: DrainReport) -> None:
    output.table(
        [(t.cluster, t.topic, t.messages, t.rows, t.quarantined, t.lag) for t in report.topics.values()],
        ("cluster", "topic", "messages", "rows", "quarantined", "lag"),
    )
    planned, rows, bad, holes = map(report.total, ("planned", "rows", "quarantined", "holes"))
    click.echo(
        f"planned {planned} offsets = {rows} rows + {bad} quarantined + {holes} holes, "
        f"in {report.seconds:.1f} s"
    )


def _answer(world: World) -> None:
    with open_duckdb(world.settings.lake / layout.CATALOG, read_only=True) as catalog:
        for question, sql in QUESTIONS:
            click.echo(f"\n{question}\n")
            _ask(catalog, sql)
        ((object_id,),) = catalog.execute(BEST_OBJECT).fetchall() or (("",),)
        click.echo(f"\nThe light curve of {object_id}, from the histories that its alerts carry:\n")
        _ask(catalog, LIGHTCURVE, [object_id])


def _ask(catalog: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] = ()) -> None:
    heed_interrupt()
    result = catalog.execute(sql, parameters)
    names = [column[0] for column in result.description or ()]
    rows = [
        [", ".join(v) if isinstance(v, list) else str(v) if isinstance(v, int) else v for v in row]
        for row in result.fetchall()
    ]
    output.table(rows, names)


def _say_what_next(world: World) -> None:
    lake = _short(world.settings.lake)
    for title, rows in ((f"The lake is in {lake}:", PLACES), ("Next:", NEXT)):
        click.echo(f"\n{title}")
        named = [(what.format(lake=lake, catalog=layout.CATALOG), why) for what, why in rows]
        width = max(len(what) for what, _ in named)
        for what, why in named:
            click.echo(f"  {what:{width}}  {why}")


def _run_behind(world: World, arguments: Sequence[str]) -> int:
    if not arguments:
        raise click.UsageError("--behind needs a command: finkbridge demo --behind -- dagster dev")
    config = world.write_config()
    for survey, count in PORTION.items():
        world.produce(survey, count)
    stop = threading.Event()
    stream = threading.Thread(target=world.produce_steadily, args=(stop,), daemon=True)
    stream.start()
    click.echo(f"Alerts arrive at {world.settings.clusters['ztf'].servers}; settings: {_short(config)}")
    try:
        return run_group(arguments, {"FINKBRIDGE_CONFIG": str(config)})
    finally:
        stop.set()
        stream.join()


def _short(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
