"""``finkbridge show``: an object or alert of the lake, its messages, and its bytes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from finkbridge import later
from finkbridge.cli import output
from finkbridge.cli.options import App, complete_file, json_option, lake_option, pass_app
from finkbridge.errors import SettingsError

MOST = 20
STANDARD_OUTPUT = "-"


@click.command(name="show")
@click.argument("name", metavar="ID", required=False)
@click.option(
    "-avro", "--avro", is_flag=False, flag_value=STANDARD_OUTPUT, metavar="[FILE]",
    shell_complete=complete_file,
    help="Write the alerts as an Avro container file; a folder: a file each; nothing or -: standard output.",
)  # fmt: skip
@click.option(
    "-fits", "--fits", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Write the cutouts as FITS files.",
)  # fmt: skip
@click.option(
    "-survey", "--survey", type=click.Choice(["ztf", "lsst"]), help="Where both surveys know the ID."
)
@click.option(
    "-limit",
    "--limit",
    type=click.IntRange(min=0),
    default=MOST,
    show_default=True,
    help="Newest alerts; 0: all.",
)
@json_option
@lake_option
@pass_app
def command(app: App, /, name: str | None, **how: Any) -> None:
    """Show an object of the lake, or one alert by its number: messages, topics, place in the archive.

    \b
    finkbridge show ZTF26aamcbly
    finkbridge show 3367463101415010117 --avro alert.avro
    finkbridge show ZTF26aamcbly --fits cutouts/
    finkbridge show ZTF26aamcbly --json -limit 1
    """  # noqa: D301 - click wants the character itself
    if name is None and how["avro"] not in {None, STANDARD_OUTPUT}:
        name, how["avro"] = (
            how["avro"],
            STANDARD_OUTPUT,
        )  # show --avro ID: the option took the name for its file
    if not name:
        raise SettingsError("say what to show: an object, or the number of an alert (candid or diaSourceId)")
    with later.call("finkbridge.lookup:Lookup", app.settings()) as lookup:
        found = lookup.find(name, how["survey"])
        alerts = found[: how["limit"] or None]
        if how["avro"] is not None:
            _write_avro(lookup, alerts, how["avro"])
        if how["fits"] is not None:
            _write_fits(
                lookup, alerts, how["fits"], to_stderr=how["avro"] == STANDARD_OUTPUT or how["as_json"]
            )
        if how["as_json"]:
            told = [later.call("finkbridge.show.files:as_json", a, lookup.raw(a).record()) for a in alerts]
            output.emit_json({"id": name, "alerts": told, "more": len(found) - len(alerts)})
        elif how["avro"] is None and how["fits"] is None:
            _print(found, alerts)
    if len(found) > len(alerts):
        click.echo(f"finkbridge: and {len(found) - len(alerts):,} more: -limit 0 for all", err=True)


def _print(found: Sequence[Any], alerts: Sequence[Any]) -> None:
    text = later.call("finkbridge.show.text:told", found, alerts)
    for line in text.head:
        click.echo(line)
    output.table(text.alerts, text.alert_columns)
    click.echo()
    output.table(text.deliveries, text.delivery_columns)


def _write_avro(lookup: Any, alerts: Sequence[Any], to: str) -> None:
    place = Path(to)
    if to != STANDARD_OUTPUT and (place.is_dir() or to.endswith("/")):
        for path in later.call("finkbridge.show.files:write_alerts", lookup, alerts, place):
            click.echo(path)
        return
    if to == STANDARD_OUTPUT and sys.stdout.isatty():
        raise SettingsError(
            "the alert is bytes, and standard output is a terminal: --avro FILE, or send it on"
        )
    data = later.call("finkbridge.show.files:container", [lookup.raw(alert) for alert in alerts])
    if to == STANDARD_OUTPUT:
        sys.stdout.buffer.write(data)
    else:
        click.echo(later.call("finkbridge.show.files:write_new", place, data))


def _write_fits(lookup: Any, alerts: Sequence[Any], folder: Path, *, to_stderr: bool) -> None:
    files, problems = later.call("finkbridge.show.files:write_cutouts", lookup, alerts, folder)
    for path in files:
        click.echo(path, err=to_stderr)
    for problem in problems:
        click.echo(f"finkbridge: problem: {problem}", err=True)
    if not files:
        raise SettingsError("no cutout was written: the alerts have none that can be read")
