"""``finkbridge rebuild``: tables, catalog and, if need be, the ledger again, from the archive alone."""

from __future__ import annotations

import click

from finkbridge import rebuild
from finkbridge.cli import output
from finkbridge.cli.options import App, json_option, lake_option, pass_app, workers_option
from finkbridge.rebuild import RebuildReport


@click.command(name="rebuild")
@workers_option
@json_option
@lake_option
@pass_app
@click.pass_context
def command(context: click.Context, app: App, *, workers: int | None, as_json: bool) -> None:
    """Make the tables and the catalog again from the archive, with no broker.

    For Parquet files that are damaged or gone, and after an upgrade that changes the tables. Queries see each
    row once all the time: the new files replace the old ones in one step, at the end. It needs room for the
    tables a second time. If it is ended or dies, the next one goes on where it was.

    Exit codes: 0; 1 something could not be read, and nothing was replaced; 2 a bad setting.
    """
    report = rebuild.rebuild(app.settings({"workers": workers}))
    if as_json:
        output.emit_json(report.as_dict())
    else:
        click.echo(summary(report))
    for problem in report.problems:
        click.echo(f"finkbridge: problem: {app.mask(problem)}", err=True)
    context.exit(int(bool(report.problems)))


def summary(report: RebuildReport) -> str:
    """Return what a rebuild did, in one line."""
    rate = report.bytes / max(report.seconds, 1e-3)
    done = (
        f"{report.rows:,} rows made again from {report.archives:,} archive files "
        f"({output.human_bytes(report.bytes)}) in {output.human_duration(report.seconds)}, "
        f"{output.human_bytes(rate)}/s"
    )
    if report.kept:
        done += f"; {report.kept:,} archive files were done by a rebuild before"
    if not report.commit:
        return f"{done}; nothing was replaced: correct what follows and run it again, it goes on from here"
    return done
