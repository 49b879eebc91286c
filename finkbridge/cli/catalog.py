"""``finkbridge catalog``: write catalog.duckdb anew, for a lake that was moved or lost its catalog."""

from __future__ import annotations

import click

from finkbridge import later, layout
from finkbridge.cli.options import App, lake_option, pass_app


@click.command(name="catalog")
@lake_option
@pass_app
@click.pass_context
def command(context: click.Context, app: App) -> None:
    """Write catalog.duckdb anew from the ledger.

    Drains do this by themselves. It is needed once after a lake was moved, as a view cannot learn where its
    own file is.
    """
    settings = app.settings()
    open_known, coordinate = map(
        later.get, ("finkbridge.ledger.adopt:open_known", "finkbridge.ledger:coordinate")
    )
    with open_known(settings.lake, settings.ledger_url) as ledger, coordinate(ledger) as coordinator:
        refused = later.call("finkbridge.catalog:publish", coordinator, settings)
    path = settings.lake / layout.CATALOG
    click.echo(f"{path} is new: duckdb -readonly {path}")
    for problem in refused:
        click.echo(f"finkbridge: problem: {app.line(problem)}", err=True)
    context.exit(int(bool(refused)))
