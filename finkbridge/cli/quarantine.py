"""``finkbridge quarantine``: look at messages that could not be decoded, save them, send them on again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from finkbridge import later
from finkbridge.cli.options import App, json_option, lake_option, pass_app
from finkbridge.errors import SettingsError
from finkbridge.values import STATES

F = TypeVar("F", bound=Callable[..., Any])

SHOWN = 50
"""Messages that are listed if no other number is asked for."""


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
    later.call("finkbridge.cli.quarantining:list_them", app, topics, state, limit, as_json=as_json)


@command.command(name="show")
@click.argument("message")
@schema_option
@json_option
@lake_option
@pass_app
def show_command(app: App, message: str, *, schema: Path | None, as_json: bool) -> None:
    """Show one MESSAGE: the reason, the bytes around it, and what the schema expects there."""
    later.call("finkbridge.cli.quarantining:show", app, message, schema, as_json=as_json)


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
    later.call("finkbridge.cli.quarantining:export", app, messages, topics, to)


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
    context.exit(
        later.call("finkbridge.cli.quarantining:requeue", app, (messages, topics), schema, as_json=as_json)
    )


@command.command(name="accept")
@click.argument("messages", nargs=-1)
@topics_option
@lake_option
@pass_app
def accept_command(app: App, messages: tuple[str, ...], topics: tuple[str, ...]) -> None:
    """Note that you have seen MESSAGES and that they need not land; they are kept whole.

    It is for what can never land, such as a message without a value: it waits no more, and stays listed as
    accepted. A requeue that names it sends it through again all the same.
    """
    if not messages and not topics:
        raise SettingsError("nothing is named: give messages or --topic '*'")
    later.call("finkbridge.cli.quarantining:accept", app, messages, topics)
