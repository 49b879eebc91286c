"""``finkbridge viewer``: cutouts and light curve of alerts, in a window, a file or the terminal."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click

from finkbridge import later
from finkbridge.cli.options import App, complete_file, lake_option, pass_app
from finkbridge.errors import SettingsError

MOST = 10
"""Alerts that are shown if no other number is asked for."""


@click.command(name="viewer")
@click.option(
    "-filename", "--filename", "-f", "files", multiple=True, metavar="PATH", shell_complete=complete_file,
    help="Avro file (.gz too), folder or pattern; repeat.",
)  # fmt: skip
@click.option(
    "-object", "--object", "name", metavar="ID", help="An object of the lake, or the number of an alert."
)
@click.option(
    "-alert", "--alert", "number", metavar="NUMBER",
    help="An alert of the lake by its number, which may be its object's name too.",
)  # fmt: skip
@click.option(
    "-survey",
    "--survey",
    type=click.Choice(["ztf", "lsst"]),
    help="Of -object and -alert, where both surveys know the name.",
)
@click.option(
    "-limit", "--limit", type=click.IntRange(min=0), default=MOST, show_default=True, help="Alerts; 0: all."
)
@click.option(
    "-save", "--save", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Write a .png, .svg, .pdf or .html file, in the place of one that is there.",
)  # fmt: skip
@click.option("-text", "--text", is_flag=True, help="Draw in the terminal, though there is a window.")
@lake_option
@pass_app
def command(
    app: App,
    /,
    *,
    files: tuple[str, ...],
    name: str | None,
    number: str | None,
    survey: str | None,
    **how: Any,
) -> None:
    """Look at alerts: the three cutouts and the light curve.

    In a window where there is one, drawn with letters in a plain terminal, or saved to a file anywhere. An
    object of the lake is shown by its newest alert, with all the points of its light curve.

    \b
    finkbridge viewer -filename alerts/ZTF26aamcbly_3367463101415010117.avro
    finkbridge viewer -object ZTF26aamcbly --save out.png
    finkbridge viewer -filename alerts/ --save night.pdf -limit 0
    """  # noqa: D301 - click wants the character itself
    if sum(map(bool, (files, name, number))) != 1:
        raise SettingsError(
            "say what to look at: -filename PATH, or -object ID or -alert NUMBER for one of the lake"
        )
    if not files:
        of_lake = later.get("finkbridge.viewer.sources:of_lake")
        views = iter([of_lake(app.settings(), name or number, survey, by_number=bool(number))])
    else:
        views = later.call("finkbridge.viewer.sources:of_files", _one_or_all(files))
    shown = _limited(views, how["limit"])
    if how["save"]:
        for path in later.call("finkbridge.viewer.save:save", shown, how["save"]):
            click.echo(path)
    elif not how["text"] and _has_display() and later.call("finkbridge.viewer.window:has_window"):
        later.call("finkbridge.viewer.window:show", shown)
    else:
        _draw(shown)


def _one_or_all(files: tuple[str, ...]) -> str | list[str]:
    return files[0] if len(files) == 1 else list(files)


def _limited(views: Iterator[Any], limit: int) -> Iterator[Any]:
    """Yield so many, and say so where there are more."""
    yield from islice(views, limit or None)
    if limit and next(views, None) is not None:
        click.echo(f"finkbridge: and more: -limit {10 * limit}, or 0 for all", err=True)


def _has_display() -> bool:
    if sys.platform in {"darwin", "win32"}:
        return True
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # a display that does not answer is no error here
    return True


def _draw(views: Iterable[Any]) -> None:
    columns = shutil.get_terminal_size().columns
    for number, view in enumerate(views):
        if number:
            click.echo()
        for line in later.call("finkbridge.viewer.terminal:drawn", view, columns, colours=_has_colours()):
            click.echo(line)


def _has_colours() -> bool:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return False
    rich = "256color" in os.environ.get("TERM", "") or os.environ.get("COLORTERM", "") in {
        "truecolor",
        "24bit",
    }
    return rich and (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
