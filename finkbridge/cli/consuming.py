"""What ``finkbridge consumer`` does, once its options are read: kept apart so that its help is quick."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from finkbridge.avro.schemas import WriterSchema, read_schema
from finkbridge.broker.placing import Start
from finkbridge.cli.options import App, survey_of
from finkbridge.cli.showing import Show, Table, shower
from finkbridge.cli.stopping import stopping_in_order
from finkbridge.consumer.alerts import dump_schema
from finkbridge.consumer.opening import Opened
from finkbridge.consumer.run import Counts, Loop, Order
from finkbridge.consumer.saving import UNDECODED, Saver
from finkbridge.consumer.session import ADVICE, Session, Wish
from finkbridge.errors import DecodeError, SettingsError
from finkbridge.later import call
from finkbridge.setting_types import parse_start

Options = dict[str, Any]


def run(app: App, options: Options) -> int:
    """Do what the options ask for; return the exit code."""
    settings = app.settings()
    name = survey_of(settings, options["survey"], options["topics"])
    cluster = settings.cluster(name)
    topics = tuple(options["topics"]) or cluster.topics
    if options["available_topics"]:
        return int(call("finkbridge.cli.topics:print_names", name, cluster))
    if not topics:
        raise SettingsError(
            "no topics: name some (see `finkbridge topics list`), or `finkbridge topics add` them for good"
        )
    if options["display_statistics"]:
        return int(call("finkbridge.cli.statistics:print_statistics", name, cluster, topics))
    schema = options["schema"] or settings.decode.schema_file
    wish = Wish(
        name,
        cluster,
        schema=read_schema(schema) if schema else None,
        schema_folder=settings.decode.schema_folder,
        start=parse_place(options["start_at"]),
        advice="" if options["skip_bad"] else ADVICE,
    )
    timeout_s = options["maxtimeout"] or cluster.poll_timeout_s
    order = Order(options["limit"], timeout_s, skip_bad=options["skip_bad"])
    return _consume(app, wish, topics, order, options)


def parse_place(text: str | None) -> Start | None:
    """Return where to begin, as ``-start_at`` says it.

    Raises
    ------
    SettingsError
        It is none of what can be said.
    """
    if not text:
        return None
    if text.isascii() and text.isdecimal():
        return int(text)
    try:
        place: datetime | str = parse_start(text)
    except ValueError as error:
        raise SettingsError(f"-start_at {text!r}: {error}, or an offset such as 1200") from None
    return place  # type: ignore[return-value]


def _consume(app: App, wish: Wish, topics: Sequence[str], order: Order, options: Options) -> int:
    with ExitStack() as stack, stopping_in_order() as stop:
        saver = stack.enter_context(Saver(options["outdir"])) if options["save"] else None
        dump = _dump if options["dump_schema"] else None
        session = stack.enter_context(Session(wish, dump))
        session.subscribe(topics)
        is_shown = options["display"] or saver is None
        show = shower(options["style"], topics, cutouts=options["cutouts"]) if is_shown else None
        kept_in = options["outdir"] / UNDECODED if saver else None
        printer = Printer(app, show, kept_in)
        counts = Loop(session, order, printer, saver).run(stop.event)
        printer.close()
        _conclude(counts, saver, options["outdir"])
    if stop.signal is not None:
        return stop.exit_code
    return int(counts.skipped > 0)


class Printer:
    """Shows alerts, and says what else happens on standard error."""

    def __init__(self, app: App, show: Show | None, kept_in: Path | None) -> None:
        self.wants_alerts = show is not None
        self._app = app
        self._show = show
        self._kept_in = kept_in

    def alert(self, opened: Opened, file: Path | None) -> None:
        """Print one alert."""
        if self._show is not None:
            self._show(opened, file)

    def idle(self, session: Session, seconds: float) -> None:
        """Say that nothing came, and why where it is known."""
        self.close()
        click.echo(f"No alerts received in the last {seconds:g} seconds{reason(session)}", err=True)

    def close(self) -> None:
        """Draw the line below the table, where there is one."""
        table = getattr(self._show, "__self__", None)
        if isinstance(table, Table):
            table.close()

    def skipped(self, error: DecodeError) -> None:
        """Say which message was left aside."""
        kept = f"; it is kept in {self._kept_in}" if self._kept_in else ""
        click.echo(f"finkbridge: skipped: {self._app.mask(str(error))}{kept}", err=True)


def reason(session: Session) -> str:
    """Return why nothing came, as an addition to a line; empty where all is read."""
    poller, assignment = session.poller, session.poller.assignment
    if not assignment.is_joined:
        return f" (group {poller.group} is not joined yet: if this stays so, raise -maxtimeout or run doctor)"
    if assignment.is_lost:
        return " (the group heard nothing of this consumer for too long: it goes on once a broker answers)"
    if assignment.count == 0 and poller.absent:
        return f" ({', '.join(sorted(poller.absent))} is not there now: it is read once it is there)"
    if assignment.count == 0:
        return f" (another member of group {poller.group} reads all partitions: end it, or use another group)"
    lag = assignment.lag()
    return f" ({lag:,} wait at the broker: a slow line?)" if lag else ""


def _dump(schema: WriterSchema) -> None:
    click.echo(f"Schema saved as {dump_schema(schema)}", err=True)


def _conclude(counts: Counts, saver: Saver | None, folder: Path) -> None:
    if saver is not None:
        click.echo(f"{counts.saved:,} alerts saved in {folder}", err=True)
