"""What ``finkbridge quarantine`` does, and what it prints."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from finkbridge import quarantine
from finkbridge.avro.schemas import read_schema
from finkbridge.cli import output
from finkbridge.cli.options import App
from finkbridge.errors import DecodeError
from finkbridge.ledger.adopt import open_known
from finkbridge.ledger.quarantined import Entry, Selection, find, refuse_ambiguous
from finkbridge.quarantine import Contents, RequeueReport, Shown
from finkbridge.registry import lookups_of_all
from finkbridge.text import counted, printable

COLUMNS = ("id", "cluster", "message", "received", "bytes", "state", "reason")
SHOWN = 50
"""Messages of a requeue that are told one by one."""
REASON_CHARACTERS = 80
NEVER = frozenset({"null value", "empty value"})
"""Reasons that no fix can change: there is nothing to decode."""


def list_them(app: App, topics: Sequence[str], state: str, limit: int, *, as_json: bool) -> None:
    """Print messages, the oldest first."""
    selection = Selection(topics=tuple(topics), state=None if state == "all" else state)
    settings = app.settings()
    with open_known(settings.lake, settings.ledger_url) as ledger:
        found = find(ledger, selection, limit + 1 if limit else None)
    entries = found[:limit] if limit else found
    sizes = _sizes(settings.lake, entries)
    if as_json:
        listed = [_entry_object(entry) | {"bytes": size} for entry, size in zip(entries, sizes, strict=True)]
        output.emit_json({"messages": listed, "more": len(found) > len(entries)}, app.mask)
        return
    if not entries:
        click.echo("no message: nothing is in quarantine" if state == "all" else f"no message is {state}")
        return
    output.table(map(_row, entries, sizes), COLUMNS)
    if len(found) > len(entries):
        click.echo(f"and more: finkbridge quarantine list --limit {10 * limit}")


def show(app: App, message: str, schema: Path | None, *, as_json: bool) -> None:
    """Print all that is known of one message."""
    settings = app.settings()
    with open_known(settings.lake, settings.ledger_url) as ledger:
        selection = Selection((message,), state=None)
        entries = find(ledger, selection)
        refuse_ambiguous(entries, selection)
        entry = entries[0]
    shown = quarantine.show(
        entry,
        Contents(settings.lake).of(entry),
        _read(schema),
        lookups_of_all(settings.clusters.values(), settings.decode.schema_folder),
    )
    if as_json:
        output.emit_json(dataclasses.asdict(shown) | {"entry": _entry_object(entry)}, app.mask)
        return
    for line in lines(shown):
        click.echo(line)


def export(app: App, messages: Sequence[str], topics: Sequence[str], to: Path) -> None:
    """Save messages as files, and print their paths."""
    settings = app.settings()
    selection = Selection(tuple(messages), tuple(topics), None if messages else "waiting")
    with open_known(settings.lake, settings.ledger_url) as ledger:
        entries = sorted(find(ledger, selection), key=lambda e: (e.path, e.id))
    contents = Contents(settings.lake)
    for entry in entries:
        for path in quarantine.export(entry, contents.of(entry), to):
            click.echo(path)


def requeue(
    app: App, named: tuple[tuple[str, ...], tuple[str, ...]], schema: Path | None, *, as_json: bool
) -> int:
    """Send messages through again, print what became of them, and return the exit code."""
    settings = app.settings()
    text = _read(schema or settings.decode.schema_file)
    report = quarantine.requeue(settings, Selection(*named), text)
    if as_json:
        output.emit_json(report.as_dict(), app.mask)
    else:
        for line in report_lines(report):
            click.echo(line)
    for problem in report.problems:
        click.echo(f"finkbridge: problem: {app.line(problem)}", err=True)
    return int(bool(report.waiting or report.problems))


def accept(app: App, messages: Sequence[str], topics: Sequence[str]) -> None:
    """Note messages as seen, and print how many."""
    accepted = quarantine.accept(app.settings(), Selection(tuple(messages), tuple(topics)))
    click.echo(f"accepted: {counted(len(accepted), 'message')}")


def lines(shown: Shown) -> Iterator[str]:
    """Yield what is said of one message, line by line."""
    entry = shown.entry
    yield f"message    {entry.place}, generation {entry.source.generation}, cluster {entry.source.cluster}"
    yield f"number     {entry.id}, {entry.state}, received {_utc(entry.timestamp_ms)}"
    at = "" if entry.byte_position is None else f" at byte {entry.byte_position:,}"
    yield f"reason     {printable(entry.reason)}{at}"
    yield f"file       {entry.path}"
    yield f"value      {'null' if shown.size is None else f'{shown.size:,} bytes'}"
    yield f"key        {shown.key}"
    for header in shown.headers:
        yield f"header     {header}"
    yield f"schema     {shown.schema}"
    yield f"today      {shown.today}"
    if shown.expected:
        yield f"expected   {shown.expected} at byte {shown.position:,} {shown.path}".rstrip()
    yield f"fastavro   {shown.reference or printable(entry.reference) or 'was not asked'}"
    for row in shown.hex:
        here = shown.position is not None and row.position <= shown.position < row.position + 16
        yield f"{'>' if here else ' '} {row.position:10,}  {row.bytes:<47}  {row.text}"


def report_lines(report: RequeueReport) -> Iterator[str]:
    """Yield what became of messages that were sent through again."""
    yield f"{report.landed:,} of {counted(report.selected, 'message')} landed, {report.waiting:,} wait on"
    for entry, reason in report.still[:SHOWN]:
        yield f"{entry.id}  {entry.place}  {printable(reason)}{_advice(entry, reason)}"
    if len(report.still) > SHOWN:
        yield f"and {sum(report.reasons.values()) - SHOWN:,} more, by reason:"
        for reason, count in report.reasons.most_common(SHOWN):
            yield f"{count:,}  {printable(reason)}"


def _advice(entry: Entry, reason: str) -> str:
    if entry.state == "accepted":
        return " (it stays accepted as lost)"
    return " (it can never land: finkbridge quarantine accept)" if reason in NEVER else ""


def _row(entry: Entry, size: int | None) -> tuple[object, ...]:
    reason = printable(entry.reason, REASON_CHARACTERS)
    return (
        str(entry.id),
        entry.source.cluster,
        entry.place,
        _utc(entry.timestamp_ms),
        size,
        entry.state,
        reason,
    )


def _sizes(lake: Path, entries: Sequence[Entry]) -> list[int | None]:
    """Return the bytes of the messages' values; None where null, or where the file cannot be read."""
    contents = Contents(lake)
    found: dict[int, int | None] = {}
    for entry in sorted(entries, key=lambda e: e.path):
        try:
            value = contents.of(entry).message.value
        except DecodeError:
            value = None
        found[entry.id] = None if value is None else len(value)
    return [found[entry.id] for entry in entries]


def _entry_object(entry: Entry) -> dict[str, Any]:
    source = dataclasses.asdict(entry.source)
    return source | {k: v for k, v in dataclasses.asdict(entry).items() if k != "source"}


def _read(schema: Path | None) -> bytes | None:
    return None if schema is None else read_schema(schema)


def _utc(timestamp_ms: int | None) -> str | None:
    if timestamp_ms is None or not 0 <= timestamp_ms < 253402300800000:  # the year 10000
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(timestamp_ms / 1000))
