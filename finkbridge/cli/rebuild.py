"""``finkbridge rebuild``: tables, catalog and, if need be, the ledger again, from the archive alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from finkbridge import later
from finkbridge.cli import output
from finkbridge.cli.options import App, json_option, lake_option, pass_app, workers_option
from finkbridge.errors import SettingsError
from finkbridge.text import counted, printable

if TYPE_CHECKING:  # --help is quick without them
    from finkbridge.rebuild import LedgerReport, RebuildReport
    from finkbridge.settings import Settings


@click.command(name="rebuild")
@click.option("--ledger", "of_ledger", is_flag=True, help="Make the ledger again first: it is lost.")
@click.option(
    "--replace", is_flag=True, help="With --ledger: put the new one in the place of one that is there."
)
@workers_option
@json_option
@lake_option
@pass_app
@click.pass_context
def command(
    context: click.Context, app: App, *, of_ledger: bool, replace: bool, workers: int | None, as_json: bool
) -> None:
    """Make the tables and the catalog again from the archive, with no broker.

    For Parquet files that are damaged or gone, and after an upgrade that changes the tables. Queries see each
    row once all the time: the new files replace the old ones in one step, at the end. It needs room for the
    tables a second time. If it is ended or dies, the next one goes on where it was.

    With --ledger, ledger.db is lost: a new one is made from what the files say, and then the tables. What
    only the old one knew is named. A ledger that is there is never written over: with --replace the new one
    is made beside it, and if that or the tables fail, all is as before.

    Exit codes: 0; 1 something could not be read or written, which a line says; 2 a bad setting.
    """
    if replace and not of_ledger:
        raise SettingsError("--replace goes with --ledger")
    settings = app.settings({"workers": workers})
    if of_ledger:
        _ledger(context, app, settings, as_json=as_json, replace=replace)
        return
    report: RebuildReport = later.call("finkbridge.rebuild:rebuild", settings)
    if as_json:
        output.emit_json(report.as_dict(), app.mask)
    else:
        click.echo(summary(report))
    for problem in report.problems:
        click.echo(f"finkbridge: problem: {app.line(problem)}", err=True)
    context.exit(int(bool(report.problems)))


def _ledger(context: click.Context, app: App, settings: Settings, *, as_json: bool, replace: bool) -> None:
    report: LedgerReport = later.call("finkbridge.rebuild:rebuild_ledger", settings, replace_old=replace)
    if as_json:
        output.emit_json(report.as_dict(), app.mask)
    else:
        for line in ledger_lines(report):
            click.echo(line)
    problems = [*report.problems, *(report.tables.problems if report.tables else ())]
    for problem in problems:
        click.echo(f"finkbridge: problem: {app.line(problem)}", err=True)
    context.exit(int(bool(problems)))


def ledger_lines(report: LedgerReport) -> Iterator[str]:
    """Yield what was found, and what could not be."""
    if report.aside:
        yield f"the old ledger is {report.aside} now"
    if report.tables is None:
        yield "nothing was made: restore the files that follow, or move them out of the lake, and run again"
        return
    if report.put_back:
        yield "nothing was replaced: the ledger that was there has its place again"
        return
    yield (
        f"the ledger is new: {counted(report.plans, 'plan')}, {counted(report.messages, 'message')}, "
        f"{report.quarantined:,} of them went to quarantine"
    )
    yield summary(report.tables)
    for gap in report.gaps:
        yield f"in no file, recorded as a gap: {printable(gap)}"
    for stray in report.strays:
        yield f"not in the lake: {printable(stray)}"
    if report.stray_count > len(report.strays):
        yield f"not in the lake: {report.stray_count - len(report.strays):,} files more"
    if report.unused_tables:
        yield f"{report.unused_tables:,} files of the old tables are not used: finkbridge verify --prune"
    for lost in report.lost:
        yield f"only the old ledger knew: {lost}"


def summary(report: RebuildReport) -> str:
    """Return what a rebuild did, in one line."""
    rate = report.bytes / max(report.seconds, 1e-3)
    done = (
        f"{counted(report.rows, 'row')} made again from {counted(report.archives, 'archive file')} "
        f"({output.human_bytes(report.bytes)}) in {output.human_duration(report.seconds)}, "
        f"{output.human_bytes(rate)}/s"
    )
    if report.kept:
        done += f"; {report.kept:,} archive files were done by a rebuild before"
    if not report.commit:
        return f"{done}; nothing was replaced: correct what follows and run it again, it goes on from here"
    return done
