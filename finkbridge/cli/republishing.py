"""Republishes for the command line, and says what came of it."""

from __future__ import annotations

import sys
import time

import click

from finkbridge.cli import output
from finkbridge.cli.options import App
from finkbridge.cli.stopping import stopping_in_order
from finkbridge.republish.proof import Report
from finkbridge.republish.request import Request
from finkbridge.republish.run import republish
from finkbridge.settings import ClusterSettings, Settings
from finkbridge.text import counted

TELL_EVERY_S = 2.0


def run(app: App, settings: Settings, request: Request, servers: str | None, *, as_json: bool) -> int:
    """Republish once; return the exit code."""
    if servers is not None:
        cluster = ClusterSettings.model_validate({"servers": servers})
        settings = settings.model_copy(update={"clusters": {**settings.clusters, request.cluster: cluster}})
    with stopping_in_order() as stop:
        report = republish(settings, request, None if as_json else Teller(), stop.event)
        _tell(app, report, as_json=as_json, stopped=bool(stop.signal))
        return stop.exit_code if stop.signal else int(not report.succeeded)
    return stop.exit_code


class Teller:
    """Tells how far it is: on a terminal in one line, elsewhere in a line now and then."""

    def __init__(self) -> None:
        self._began = self._told = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int, of: int) -> None:
        """Take note of progress."""
        now = time.monotonic()
        self._first = done if self._first is None else self._first
        if now - self._told < TELL_EVERY_S and done < of:
            return
        self._told = now
        seconds = max(now - self._began, 1e-3)
        rate = done / seconds if self._first == done else (done - self._first) / seconds
        left = f", {output.human_duration((of - done) / rate)} left" if rate and done < of else ""
        end = "\r" if sys.stderr.isatty() and done < of else "\n"
        click.echo(
            f"{done:,} of {of:,} messages ({rate:,.0f}/s{left})    ".rstrip() + end, err=True, nl=False
        )


def _tell(app: App, report: Report, *, as_json: bool, stopped: bool) -> None:
    if as_json:
        output.emit_json(report.as_dict(), app.mask)
        return
    if stopped:
        sent = report.before + report.sent
        click.echo(f"{sent:,} of {report.selected:,} messages are in {report.target}; run again to go on")
    elif report.succeeded:
        click.echo(
            f"{report.topic}: {counted(report.selected, 'message')} = {report.found:,} in {report.target}, "
            f"byte for byte ({report.sent:,} sent now; xxh3 {report.hash})"
        )
    if report.undated:
        click.echo(
            f"finkbridge: warning: {report.undated:,} messages have no timestamp and got the target's; no "
            "times were compared",
            err=True,
        )
    for problem in report.problems:
        click.echo(f"finkbridge: problem: {app.mask(problem)}", err=True)
