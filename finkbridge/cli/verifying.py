"""Verifies the lake for the command line, and prints what is found."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from finkbridge import later
from finkbridge.cli.options import App
from finkbridge.cli.output import emit_json, human_bytes, human_duration
from finkbridge.text import LONGEST_LINE, counted, printable
from finkbridge.verify import Options, Report, Scope, Watcher, verify
from finkbridge.verify.report import Unwatched
from finkbridge.verify.sample import Sample


def run(
    app: App, named: tuple[Sequence[str], Sequence[str]], asked: Mapping[str, Any], *, as_json: bool
) -> int:
    """Verify what nights and topics name, as the options ask for it; return the exit code."""
    options = Options(Scope.parse(*named), **{**asked, "sample": Sample.parse(asked["sample"])})
    settings = app.settings()
    with _watching(quiet=as_json) as watcher:
        report = verify(settings.lake, settings.ledger_url, options, watcher)
    if as_json:
        emit_json(report.as_dict(), app.mask)
    else:
        for line in lines(report, settings.lake):
            click.echo(app.mask(line))
    return 0 if report.holds else 1


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
        yield _comparison(report)
    speed = human_bytes(report.bytes / max(report.seconds, 1e-3))
    verdict = "all holds" if report.holds else counted(len(report.findings), "finding")
    yield (
        f"{lake}: {verdict}: {counted(report.files, 'file')}, {human_bytes(report.bytes)}, "
        f"{counted(report.rows, 'row')} in {human_duration(report.seconds)} ({speed}/s)"
    )
    if not report.scope.is_all:
        yield f"only this was verified, beside the ledger: {report.scope}"


def _comparison(report: Report) -> str:
    """Return what was compared with what."""
    decoder = "Apache DataFusion" if report.independent else "the decoder of drains"
    speed = human_bytes(report.compared_bytes / max(report.compared_seconds, 1e-3))
    rest = report.compared_rows - report.independent_rows if report.independent else 0
    return (
        f"every field of {report.compared_rows:,} rows compared with the archive, decoded anew by {decoder} "
        + (f"(but {rest:,} rows, which it cannot, by fastavro) " if rest else "")
        + f"({speed}/s); {report.sampled_rows:,} of them also by fastavro"
    )


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
