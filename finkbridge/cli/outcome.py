"""Runs a drain for the command line, and says what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

import click

from finkbridge.broker.names import NO_PATTERN, is_pattern
from finkbridge.cli import output, progress
from finkbridge.cli.options import App
from finkbridge.cli.stopping import stopping_in_order
from finkbridge.drain import open_bridge
from finkbridge.report import DrainReport
from finkbridge.settings import Settings
from finkbridge.text import counted, printable

COLUMNS = ("cluster", "topic", "messages", "rows", "quarantined", "holes", "lost", "lag", "MB")


def run(app: App, settings: Settings, topics: Sequence[str], *, as_json: bool) -> int:
    """Drain once; return the exit code."""
    with stopping_in_order() as stop, open_bridge(settings, topics) as bridge:
        bridge.stopping = stop.event
        with progress.watching(quiet=as_json) as listener:
            report = bridge.run(topics, listener)
        _tell(app, report, as_json=as_json)
        if report.topics and not report.problems:  # else it is told already, or nobody could look
            _warn_of_vain(topics, report)
        return stop.exit_code if stop.signal else int(not report.succeeded)
    return stop.exit_code


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
        click.echo(f"finkbridge: {app.line(line)}", err=True)


def _warn_of_vain(names: Sequence[str], report: DrainReport) -> None:
    for name in names:
        if is_pattern(name) and not any(fnmatchcase(t.topic, name) for t in report.topics.values()):
            click.echo(f"finkbridge: warning: no topic matches {printable(name)}; {NO_PATTERN}", err=True)


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
        verb = "waits" if bad == 1 else "wait"
        bad_ones = f"{counted(bad, 'message')} could not be decoded and {verb} in quarantine, whole"
        yield f"warning: {bad_ones}: finkbridge quarantine list"
    if kept := report.total("salvaged"):
        came = "were taken from files that a dead run had landed, as the broker no longer has them"
        yield f"note: {kept:,} messages {came}"
    if lost := report.total("expired"):
        yield f'warning: {lost:,} offsets were lost before they could be drained: finkbridge sql "FROM gaps"'
    if held := report.total("held"):
        yield f"warning: {held:,} offsets wait behind an open transaction: they are drained when it ends"
    for problem in report.problems if problems else ():
        yield f"problem: {problem}"


def _is_idle(report: DrainReport) -> bool:
    return bool(report.topics) and not any(map(report.total, ("planned", "expired", "lag")))


def _topics(count: int) -> str:
    return "1 topic" if count == 1 else f"{count} topics"
