"""``finkbridge verify``: whether the lake is what the ledger says, and the ledger what it promises."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from click.core import ParameterSource

from finkbridge import later
from finkbridge.cli.options import App, json_option, lake_option, pass_app
from finkbridge.cli.output import emit_json, human_bytes, human_duration
from finkbridge.text import LONGEST_LINE, printable
from finkbridge.verify import Options, Report, Scope, Watcher, verify
from finkbridge.verify.report import Unwatched


def _parse_sample(_context: click.Context, _parameter: click.Parameter, value: str) -> int | None:
    if value == "all":
        return None
    if not value.isdecimal():
        raise click.BadParameter("write a number, or all")
    return int(value)


@click.command(name="verify")
@click.option("--night", "nights", multiple=True, metavar="YYYYMMDD", help="Only this night.")
@click.option("--topic", "topics", multiple=True, metavar="TOPIC", help="Only this topic, or pattern.")
@click.option("--deep", is_flag=True, help="Decode the archive again and compare every field of the tables.")
@click.option(
    "--sample",
    default="10",
    callback=_parse_sample,
    metavar="N",
    help="With --deep: messages of each archive file that fastavro decodes too; all for every one.",
    show_default=True,
)
@click.option("--prune", is_flag=True, help="First delete files that surely were never committed.")
@json_option
@lake_option
@pass_app
@click.pass_context
def command(  # noqa: PLR0913 - one argument an option
    context: click.Context,
    app: App,
    nights: tuple[str, ...],
    topics: tuple[str, ...],
    sample: int | None,
    *,
    deep: bool,
    prune: bool,
    as_json: bool,
) -> None:
    """Verify the lake: nothing lost, nothing doubled, every byte as it was written.

    The ledger first, by its database's own checks and by ours: offsets tile each partition, counts agree.
    Then every file that it lists, by size, checksum and rows; then whatever else is in the lake's folders.
    Gaps (offsets that are recorded as lost) and holes (offsets without a message) are named, and no failure.
    Needs no lock (but for --prune) and may run beside a drain. --night and --topic may be repeated.

    Exit codes: 0 all holds; 1 something does not; 2 a bad setting.

    \b
    finkbridge verify
    finkbridge verify --deep --night 20260322
    finkbridge verify --prune
    """  # noqa: D301 - click wants the character itself
    if not deep and context.get_parameter_source("sample") is not ParameterSource.DEFAULT:
        raise click.UsageError("--sample is of the deep comparison: add --deep, or leave it out")
    settings = app.settings()
    options = Options(Scope.parse(nights, topics), deep, sample, prune)
    with _watching(quiet=as_json) as watcher:
        report = verify(settings.lake, settings.ledger_url, options, watcher)
    if as_json:
        emit_json(report.as_dict(), app.mask)
    else:
        for line in lines(report, settings.lake):
            click.echo(app.mask(line))
    context.exit(0 if report.holds else 1)


def lines(report: Report, lake: Path) -> Iterator[str]:
    """Yield what people read: one line a finding, then a summary."""
    for path in report.pruned:
        yield f"pruned: {printable(path)}"
    for finding in report.findings:
        yield f"{finding.kind}: {printable(str(finding), LONGEST_LINE)}"
    for spans in report.spans:
        yield printable(str(spans), LONGEST_LINE)
    for note in report.notes:
        yield f"note: {printable(note, LONGEST_LINE)}"
    if report.deep:
        yield (
            f"every field of {report.compared_rows:,} rows compared with a bulk decode of the archive; "
            f"{report.sampled_rows:,} of them also with fastavro"
        )
    speed = human_bytes(report.bytes / max(report.seconds, 1e-3))
    count = len(report.findings)
    verdict = "all holds" if report.holds else f"{count:,} finding{'s' * (count > 1)}"
    yield (
        f"{lake}: {verdict}: {report.files:,} files, {human_bytes(report.bytes)}, {report.rows:,} rows in "
        f"{human_duration(report.seconds)} ({speed}/s)"
    )
    if not report.scope.is_all:
        yield f"only this was verified, beside the ledger: {report.scope}"


@contextmanager
def _watching(*, quiet: bool) -> Iterator[Watcher]:
    """Yield who watches: a bar where standard error is a terminal, else nobody."""
    if quiet or not sys.stderr.isatty():
        yield Unwatched()
        return
    bar = later.call("finkbridge.cli.bytes_bar:BytesBar")  # rich takes longer to load than a small lake
    try:
        yield bar
    finally:
        bar.close()
