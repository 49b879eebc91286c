"""``finkbridge drain``: everything that is at the brokers now, into the lake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from finkbridge.cli import output, progress
from finkbridge.cli.options import App, json_option, lake_option, pass_app, workers_option
from finkbridge.cli.stopping import stopping_in_order
from finkbridge.drain import open_bridge
from finkbridge.report import DrainReport

COLUMNS = ("cluster", "topic", "messages", "rows", "quarantined", "holes", "lost", "lag", "MB")


@click.command(name="drain")
@click.argument("topics", nargs=-1)
@click.option("--max-messages", type=click.IntRange(min=1), metavar="N", help="Take so many at most.")
@click.option("--max-bytes", metavar="SIZE", help="Take so much at most, such as 500MB.")
@click.option(
    "--start",
    metavar="WHERE",
    help="Where topics start that were never drained: earliest, latest, or a time (2026-01-31T18:00Z).",
)
@click.option(
    "--schema",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Avro writer schema (.avsc) of every message, whatever the messages say.",
)
@workers_option
@json_option
@lake_option
@pass_app
@click.pass_context
def command(  # noqa: PLR0913 - one argument an option
    context: click.Context,
    app: App,
    topics: tuple[str, ...],
    *,
    max_messages: int | None,
    max_bytes: str | None,
    start: str | None,
    schema: Path | None,
    workers: int | None,
    as_json: bool,
) -> None:
    r"""Drain TOPICS into the lake: all that is there now, then end.

    TOPICS are names and patterns such as 'fink_*_ztf'; with none, those of the settings. Exit codes: 0 all
    that was planned is in the lake; 1 something is not (what is drained stays drained, the next run goes on);
    2 a bad setting; 130 or 143 ended by Ctrl-C or SIGTERM.

    \b
    finkbridge drain
    finkbridge drain 'fink_sn_*' --max-messages 10000 --start 2026-01-31T18:00Z
    """
    settings = app.settings(
        {
            "drain.max_messages": max_messages,
            "drain.max_bytes": max_bytes,
            "drain.start": start,
            "decode.schema_file": schema,
            "workers": workers,
        }
    )
    with stopping_in_order() as stop, open_bridge(settings) as bridge:
        bridge.stopping = stop.event
        with progress.watching(quiet=as_json) as listener:
            report = bridge.run(topics, listener)
        _tell(app, report, as_json=as_json)
        context.exit(stop.exit_code if stop.signal else int(not report.succeeded))
    context.exit(stop.exit_code)


def _tell(app: App, report: DrainReport, *, as_json: bool) -> None:
    if as_json:
        output.emit_json(report.as_dict())
    elif not report.topics and not report.problems:
        click.echo("no topic matches: nothing to drain")
    elif _is_idle(report):
        click.echo(f"nothing new in {_topics(len(report.topics))} ({output.human_duration(report.seconds)})")
    elif report.topics:
        output.table(rows(report), COLUMNS)
        click.echo(proof(report))
    for line in complaints(report):
        click.echo(f"finkbridge: {app.mask(line)}", err=True)


def rows(report: DrainReport) -> Iterator[tuple[object, ...]]:
    """Yield the table's rows, one a topic."""
    for t in report.topics.values():
        counts = (t.messages, t.rows, t.quarantined, t.holes, t.expired, t.lag)
        yield t.cluster, t.topic, *counts, round(t.bytes / 1e6, 1)


def proof(report: DrainReport) -> str:
    """Return the line that holds what was planned against what became of it."""
    planned, landed, bad, holes = map(report.total, ("planned", "rows", "quarantined", "holes"))
    parts = f"{landed:,} rows + {bad:,} quarantined + {holes:,} holes"
    if left := planned - landed - bad - holes:
        parts += f" + {left:,} not drained"
    size, seconds = report.total("bytes"), max(report.seconds, 1e-3)
    rate = f"{report.total('messages') / seconds:,.0f}/s, {output.human_bytes(size / seconds)}/s"
    return f"planned {planned:,} offsets = {parts}; {output.human_duration(report.seconds)} ({rate})"


def complaints(report: DrainReport, *, problems: bool = True) -> Iterator[str]:
    """Yield what a user should know beyond the counts, one line each."""
    if bad := report.total("quarantined"):
        how = 'finkbridge sql "FROM quarantine"'
        yield f"warning: {bad:,} messages could not be decoded and wait in quarantine, whole: {how}"
    if lost := report.total("expired"):
        yield f'warning: {lost:,} offsets were lost before they could be drained: finkbridge sql "FROM gaps"'
    for problem in report.problems if problems else ():
        yield f"problem: {problem}"


def _is_idle(report: DrainReport) -> bool:
    return bool(report.topics) and not any(map(report.total, ("planned", "expired", "lag")))


def _topics(count: int) -> str:
    return "1 topic" if count == 1 else f"{count} topics"
