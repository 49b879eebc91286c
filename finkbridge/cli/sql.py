"""``finkbridge sql``: ask the lake, whoever holds the catalog's file."""

from __future__ import annotations

from typing import Any

import click

from finkbridge import later
from finkbridge.cli.options import App, json_option, lake_option, pass_app
from finkbridge.errors import SettingsError


@click.command(name="sql")
@click.argument("query", required=False)
@click.option("-f", "--file", type=click.File(), help="Read the query from a file; - is standard input.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@json_option
@lake_option
@pass_app
def command(app: App, query: str | None, file: Any, *, as_csv: bool, as_json: bool) -> None:
    """Ask the lake in SQL (DuckDB).

    The views are alerts, deliveries, packets_ztf, packets_lsst, packets_other, predictions, nights, segments,
    topics, quarantine and gaps; lightcurve('OBJECT') is a macro. The ledger tells the files: this works even
    while another shell holds catalog.duckdb.

    \b
    finkbridge sql "SELECT topic, count(*) FROM deliveries GROUP BY ALL"
    finkbridge sql "FROM lightcurve('ZTF26aamcbly')" --csv
    """  # noqa: D301 - click wants the character itself
    text = file.read() if file else query
    if not text:
        raise SettingsError('no query: finkbridge sql "SELECT ..." or finkbridge sql -f FILE')
    later.call("finkbridge.cli.querying:run", app, text, as_csv=as_csv, as_json=as_json)
