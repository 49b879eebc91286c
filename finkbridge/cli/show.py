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
from finkbridge.text import counted

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
    "-alert", "--alert", "number", metavar="NUMBER",
    help="An alert by its number, which may be its object's name too: LSST names one by its first alert.",
)  # fmt: skip
@click.option(
    "-survey",
    "--survey",
    type=click.Choice(["ztf", "lsst", "other"]),
    help="Where both surveys know the ID; other: alerts of other kinds of that name.",
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
def command(app: App, /, name: str | None, number: str | None, **how: Any) -> None:
    """Show an object of the lake, or one alert by its number: messages, topics, place in the archive.

    ID is an object; where there is none of that name, the number of an alert (candid or diaSourceId).

    \b
    finkbridge show ZTF26aamcbly
    finkbridge show -alert 170028485706776685
    finkbridge show 3367463101415010117 --avro alert.avro
    finkbridge show ZTF26aamcbly --fits cutouts/
    finkbridge show ZTF26aamcbly --json -limit 1
    """  # noqa: D301 - click wants the character itself
    if not (name or number) and how["avro"] not in {None, STANDARD_OUTPUT}:
        # show --avro ID: the option took the name for its file
        name, how["avro"] = how["avro"], STANDARD_OUTPUT
    if how["as_json"] and how["avro"] == STANDARD_OUTPUT:
        raise SettingsError("--json and --avro without a file both take standard output: --avro FILE")
    wanted = _one_of(name, number)
    with later.call("finkbridge.lookup:Lookup", app.settings()) as lookup:
        found = lookup.find(wanted, how["survey"], by_number=bool(number))
        alerts = found[: how["limit"] or None]
        _write(lookup, alerts, how)
        if how["as_json"]:
            told = [later.call("finkbridge.show.files:as_json", a, lookup.record(a)) for a in alerts]
            output.emit_json({"id": wanted, "alerts": told, "more": len(found) - len(alerts)})
        elif how["avro"] is None and how["fits"] is None:
            _print(found, alerts)
        if len(found) > len(alerts):
            click.echo(f"finkbridge: and {len(found) - len(alerts):,} more: -limit 0 for all", err=True)
        if how["survey"] is None:
            _tell_more(lookup, wanted, found, by_number=bool(number))


def _one_of(name: str | None, number: str | None) -> str:
    if name and number:
        raise SettingsError("name an object or -alert NUMBER, not both")
    wanted = name or number
    if not wanted:
        raise SettingsError("say what to show: an object, or the number of an alert (candid or diaSourceId)")
    return wanted


def _print(found: Sequence[Any], alerts: Sequence[Any]) -> None:
    text = later.call("finkbridge.show.text:told", found, alerts)
    for line in text.head:
        click.echo(line)
    output.table(text.alerts, text.alert_columns)
    click.echo()
    output.table(text.deliveries, text.delivery_columns)


def _tell_more(lookup: Any, name: str, found: Sequence[Any], *, by_number: bool) -> None:
    """Say what else has this name: multi-messenger topics send alerts of ZTF's objects again."""
    numbered = [] if by_number else lookup.numbered(name)
    if numbered and (len(found) > 1 or numbered[0].row != found[0].row):
        click.echo(f"finkbridge: it is an alert's number too: -alert {name} shows that one", err=True)
    if found[0].survey != "other" and (others := lookup.others(name, by_number=by_number)):
        topics = ", ".join(sorted({topic for alert in others for topic in alert.topics}))
        many = counted(sum(len(alert.deliveries) for alert in others), "message")
        click.echo(f"finkbridge: and {many} of other kinds ({topics}): -survey other", err=True)


def _write(lookup: Any, alerts: Sequence[Any], how: dict[str, Any]) -> None:
    """Write the files that are wanted."""
    if how["avro"] is not None:
        _write_avro(lookup, alerts, how["avro"], to_stderr=how["as_json"])
    if how["fits"] is not None:
        is_taken = how["as_json"] or how["avro"] == STANDARD_OUTPUT
        _write_fits(lookup, alerts, how["fits"], to_stderr=is_taken)


def _write_avro(lookup: Any, alerts: Sequence[Any], to: str, *, to_stderr: bool) -> None:
    place = Path(to)
    if to != STANDARD_OUTPUT and (place.is_dir() or to.endswith("/")):
        for path in later.call("finkbridge.show.files:write_alerts", lookup, alerts, place):
            click.echo(path, err=to_stderr)
        return
    if to == STANDARD_OUTPUT and sys.stdout.isatty():
        raise SettingsError(
            "the alert is bytes, and standard output is a terminal: --avro FILE, or send it on"
        )
    data = later.call("finkbridge.show.files:container", [lookup.raw(alert) for alert in alerts])
    if to == STANDARD_OUTPUT:
        sys.stdout.buffer.write(data)
    else:
        click.echo(later.call("finkbridge.show.files:write_new", place, data), err=to_stderr)


def _write_fits(lookup: Any, alerts: Sequence[Any], folder: Path, *, to_stderr: bool) -> None:
    files, problems = later.call("finkbridge.show.files:write_cutouts", lookup, alerts, folder)
    for path in files:
        click.echo(path, err=to_stderr)
    for problem in problems:
        click.echo(f"finkbridge: problem: {problem}", err=True)
    if not files:
        raise SettingsError("no cutout was written: the alerts have none that can be read")
