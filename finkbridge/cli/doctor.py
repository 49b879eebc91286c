"""``finkbridge doctor``: whether all is well, one line a check."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

import click

from finkbridge import later
from finkbridge.cli.options import App, json_option, lake_option, pass_app
from finkbridge.cli.output import emit_json

if TYPE_CHECKING:  # --help is quick without it
    from finkbridge.doctor import Finding

_SIGNS = {"good": ("✓", "green"), "doubtful": ("!", "yellow"), "bad": ("✗", "red")}
_PLAIN = {"✓": "ok", "✗": "x"}
"""For outputs that cannot show the signs."""


@click.command(name="doctor")
@json_option
@lake_option
@pass_app
@click.pass_context
def command(context: click.Context, app: App, *, as_json: bool) -> None:
    """Look whether all is well: settings, credentials, clusters, topics, a message of each, lake, ledger.

    One line a check; what is not well says what to do. Nothing is changed, neither in the lake nor at the
    clusters. A cluster that is down takes some seconds, and the others are looked at meanwhile.

    Exit codes: 0 all is well, or doubtful at most; 1 something is not; 2 the settings cannot be read.
    """
    found = []
    for finding in later.call("finkbridge.doctor:examine", app.load()):
        masked = dataclasses.replace(finding, said=app.line(finding.said), todo=app.line(finding.todo))
        found.append(masked)
        if not as_json:
            click.echo(line(masked))
    is_well = all(finding.state != "bad" for finding in found)
    if as_json:
        emit_json({"well": is_well, "findings": found})
    context.exit(0 if is_well else 1)


def line(finding: Finding) -> str:
    """Return a finding as a line; its colour is seen on a terminal only."""
    sign, colour = _SIGNS[finding.state]
    if not _can_show(sign):
        sign = _PLAIN[sign]
    todo = f": {finding.todo}" if finding.todo and finding.state != "good" else ""
    return f"{click.style(sign, fg=colour)} {finding.check:<11} {finding.subject}: {finding.said}{todo}"


def _can_show(sign: str) -> bool:
    try:
        sign.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
