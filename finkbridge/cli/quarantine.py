"""``finkbridge quarantine``: look at messages that could not be decoded, save them, send them on again."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from finkbridge import quarantine
from finkbridge.avro.schemas import read_schema
from finkbridge.cli import output
from finkbridge.cli.options import App, json_option, lake_option, pass_app
from finkbridge.errors import DecodeError, SettingsError
from finkbridge.ledger.adopt import open_known
from finkbridge.ledger.quarantined import STATES, Entry, Selection, find
from finkbridge.quarantine import Contents, RequeueReport, Shown
from finkbridge.registry import lookups_of_all
from finkbridge.text import printable

F = TypeVar("F", bound=Callable[..., Any])

COLUMNS = ("id", "cluster", "message", "received", "bytes", "state", "reason")
SHOWN = 50
"""Messages that are listed if no other number is asked for."""
REASON_CHARACTERS = 80
NEVER = frozenset({"null value", "empty value"})
"""Reasons that no fix can change: there is nothing to decode."""


def topics_option(function: F) -> F:
    """Take ``--topic``: the command gets the argument `topics`."""
    return click.option("--topic", "topics", multiple=True, metavar="TOPIC", help="Name or pattern; repeat.")(
        function
    )


def schema_option(function: F) -> F:
    """Take ``--schema FILE``: the command gets the argument `schema`, None when not given."""
    return click.option(
        "--schema",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Avro writer schema (.avsc) to use, whatever the messages say.",
    )(function)


@click.group(name="quarantine")
def command() -> None:
    """Look at messages that could not be decoded, save them, send them through again.

    A message is named by TOPIC:PARTITION:OFFSET, or by the number that `list` gives. All of it works with no
    broker.

    \b
    finkbridge quarantine list
    finkbridge quarantine show fink_sn_candidates_ztf:0:1234
    finkbridge quarantine requeue --topic 'fink_sn_*' --schema fixed.avsc
    """  # noqa: D301 - click wants the character itself


@command.command(name="list")
@topics_option
@click.option("--state", type=click.Choice([*STATES, "all"]), default="waiting", show_default=True)
@click.option("--limit", type=click.IntRange(min=0), default=SHOWN, show_default=True, help="0 lists all.")
@json_option
@lake_option
@pass_app
def list_command(app: App, topics: tuple[str, ...], *, state: str, limit: int, as_json: bool) -> None:
    """List messages, the oldest first."""
    selection = Selection(topics=topics, state=None if state == "all" else state)
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


@command.command(name="show")
@click.argument("message")
@schema_option
@json_option
@lake_option
@pass_app
def show_command(app: App, message: str, *, schema: Path | None, as_json: bool) -> None:
    """Show one MESSAGE: the reason, the bytes around it, and what the schema expects there."""
    settings = app.settings()
    with open_known(settings.lake, settings.ledger_url) as ledger:
        entry = _only(find(ledger, Selection((message,), state=None)), message)
    shown = quarantine.show(entry, Contents(settings.lake).of(entry), _read(schema), lookups_of_all(settings))
    if as_json:
        output.emit_json(dataclasses.asdict(shown) | {"entry": _entry_object(entry)}, app.mask)
        return
    for line in lines(shown):
        click.echo(line)


@command.command(name="export")
@click.argument("messages", nargs=-1)
@topics_option
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="DIR",
    help="Folder to write to (default: this one).",
)
@lake_option
@pass_app
def export_command(app: App, messages: tuple[str, ...], topics: tuple[str, ...], *, to: Path) -> None:
    """Save MESSAGES as files: .value and .key as they are, .json with all else.

    No file is written over. Messages are named, or selected by --topic (those that wait).
    """
    if not messages and not topics:
        raise SettingsError("nothing is named: give messages or --topic '*'")
    settings = app.settings()
    selection = Selection(messages, topics, None if messages else "waiting")
    with open_known(settings.lake, settings.ledger_url) as ledger:
        entries = sorted(find(ledger, selection), key=lambda e: (e.path, e.id))
    contents = Contents(settings.lake)
    for entry in entries:
        for path in quarantine.export(entry, contents.of(entry), to):
            click.echo(path)


@command.command(name="requeue")
@click.argument("messages", nargs=-1)
@topics_option
@schema_option
@json_option
@lake_option
@pass_app
@click.pass_context
def requeue_command(
    context: click.Context,
    app: App,
    messages: tuple[str, ...],
    topics: tuple[str, ...],
    *,
    schema: Path | None,
    as_json: bool,
) -> None:
    """Send MESSAGES through again, or all that wait: what is good now lands, exactly once.

    Exit codes: 0 nothing of the selection waits any more; 1 something waits on (each with its reason); 2 a
    bad setting or name.
    """
    settings = app.settings()
    text = _read(schema or settings.decode.schema_file)
    report = quarantine.requeue(settings, Selection(messages, topics), text)
    if as_json:
        output.emit_json(report.as_dict(), app.mask)
    else:
        for line in report_lines(report):
            click.echo(line)
    for problem in report.problems:
        click.echo(f"finkbridge: problem: {app.line(problem)}", err=True)
    context.exit(int(bool(report.waiting or report.problems)))


@command.command(name="accept")
@click.argument("messages", nargs=-1)
@topics_option
@lake_option
@pass_app
def accept_command(app: App, messages: tuple[str, ...], topics: tuple[str, ...]) -> None:
    """Note that you have seen MESSAGES and that they need not land; they are kept whole.

    It is for what can never land, such as a message without a value: it waits no more, and stays listed as
    accepted.
    """
    if not messages and not topics:
        raise SettingsError("nothing is named: give messages or --topic '*'")
    accepted = quarantine.accept(app.settings(), Selection(messages, topics))
    click.echo(f"accepted: {len(accepted):,} messages")


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
    yield f"{report.landed:,} of {report.selected:,} messages landed, {report.waiting:,} wait on"
    for entry, reason in report.still[:SHOWN]:
        never = " (it can never land: finkbridge quarantine accept)" if reason in NEVER else ""
        yield f"{entry.id}  {entry.place}  {printable(reason)}{never}"
    if len(report.still) > SHOWN:
        yield f"and {sum(report.reasons.values()) - SHOWN:,} more, by reason:"
        for reason, count in report.reasons.most_common(SHOWN):
            yield f"{count:,}  {printable(reason)}"


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


def _only(entries: Sequence[Entry], name: str) -> Entry:
    if len(entries) > 1:
        said = ", ".join(
            f"{e.id} (cluster {e.source.cluster}, generation {e.source.generation})" for e in entries
        )
        raise SettingsError(f"{name} is of several lives or clusters: name it by its number: {said}")
    return entries[0]


def _entry_object(entry: Entry) -> dict[str, Any]:
    source = dataclasses.asdict(entry.source)
    return source | {k: v for k, v in dataclasses.asdict(entry).items() if k != "source"}


def _read(schema: Path | None) -> bytes | None:
    return None if schema is None else read_schema(schema)


def _utc(timestamp_ms: int | None) -> str | None:
    if timestamp_ms is None or not 0 <= timestamp_ms < 253402300800000:  # the year 10000
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(timestamp_ms / 1000))
