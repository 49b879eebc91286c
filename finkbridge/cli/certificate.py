"""``finkbridge certificate``: what is in the lake of each night, and whether that is all there is."""

from __future__ import annotations

import click

from finkbridge import later
from finkbridge.cli.options import App, json_option, lake_option, pass_app


@click.command(name="certificate")
@click.argument("night", required=False)
@click.option("--survey", type=click.Choice(["ztf", "lsst", "other"]), help="Of this survey only.")
@json_option
@lake_option
@pass_app
@click.pass_context
def command(
    context: click.Context, app: App, night: str | None, survey: str | None, *, as_json: bool
) -> None:
    """Show what the lake has of NIGHT (YYYYMMDD), and whether that is all there is.

    A night is complete when nothing that can hold its alerts is left: every partition was seen at its end,
    and drained up to there, after the night had ended and certificate.late_hours had passed; no gap and no
    message in quarantine can be of it. In topics that send alerts of old nights, such as replays, all that
    waits can be of any night. Without NIGHT: one line for each night that has rows, or messages in
    quarantine. It contacts no broker.

    Exit codes: 0 all that are shown are complete; 1 one is not, or the lake cannot be read; 2 bad input.
    """
    context.exit(later.call("finkbridge.cli.certifying:run", app, night, survey, as_json=as_json))
