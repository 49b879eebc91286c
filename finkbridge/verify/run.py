"""The verification of a lake, in the order in which one thing rests on another.

    1 ledger     the database's own checks, then ours: offsets tile, counts agree
    2 files      what the ledger lists is there, byte for byte, and says what the ledger does; what is there
                 is listed
    3 catalog    it shows exactly the files of the ledger; nights that were counted are counted again
    4 deep       if asked: the archive decoded anew, and every field compared
    5 prune      if asked, and 1, 2 and 4 found nothing: with the lake held, what surely was never committed
                 is deleted. Where the ledger or a file is damaged, it may be the only whole copy

All but pruning only reads, needs no lock, and may run beside a drain: what looks wrong is looked at again in
the ledger as it is then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Row
from sqlalchemy.exc import SQLAlchemyError

from finkbridge import later, layout
from finkbridge.errors import CommitConflictError, LakeAccessError, NoLakeError
from finkbridge.ledger import Ledger, coordinate
from finkbridge.ledger.adopt import has_archive, is_blank, open_or_lost, refuse_if_lost
from finkbridge.ledger.rebuilt import tables_missing
from finkbridge.verify.accounts import check_accounts
from finkbridge.verify.contents import check_contents
from finkbridge.verify.database import check_database
from finkbridge.verify.derived import check_derived
from finkbridge.verify.findings import REBUILD, RESTORE_LEDGER, Finding, Scope, of_database
from finkbridge.verify.listed import is_held, select_scope, total_bytes
from finkbridge.verify.offsets import check_offsets
from finkbridge.verify.report import Report, Unwatched, Watcher
from finkbridge.verify.sample import SAMPLE, Sample
from finkbridge.verify.spans import read_spans
from finkbridge.verify.strays import Stray, find_strays, prune

SETTLE_S = 1.0
"""Between two looks at what a running coordinator may be about to delete."""

FORGET_REPORT = "nothing rests on it, and it is forgotten after 30 days; look at the disk: it may have more"

NO_TABLES = Finding(
    "rows", "deliveries and packets", "are not made yet, as the ledger was made anew", REBUILD
)


@dataclass(frozen=True, slots=True)
class Options:
    """What to verify, and how thoroughly."""

    scope: Scope = Scope()  # noqa: RUF009 - it is frozen
    deep: bool = False
    sample: Sample = SAMPLE
    """Messages of each archive file that the deep comparison decodes by fastavro too."""
    independent: bool = False
    """Whether it decodes all by an engine that shares no code with drains."""
    prune: bool = False


def verify(
    lake: Path, url: str | None, options: Options = Options(), watcher: Watcher | None = None
) -> Report:
    """Verify a lake.

    Parameters
    ----------
    lake
        Its folder.
    url
        Of a PostgreSQL ledger; None for SQLite in the lake.
    options
        What is asked for.
    watcher
        Told of progress.

    Returns
    -------
    Report
        `Report.holds` tells whether all that was looked at is as it should be.

    Raises
    ------
    LakeError
        There is no lake, a newer finkbridge made it, or, with pruning, another coordinator holds it.
    """
    began = time.monotonic()
    report = Report(options.scope, deep=options.deep, independent=options.independent)
    if options.deep:
        _load_early("finkbridge.verify.deep")
    try:
        with open_or_lost(lake, url) if url else Ledger(lake) as ledger:
            if url is not None:  # of a file, the findings say what to do
                refuse_if_lost(ledger, to_rebuild=True)
            _verify(ledger, options, report, watcher or Unwatched())
    except NoLakeError:
        is_there = (lake / layout.LEDGER).is_file()
        if not (is_there or has_archive(lake)):
            raise
        report.add(_lost("is empty" if is_there else "is gone"))
    except LakeAccessError as error:
        if url is not None or options.prune:
            raise
        report.add(_lost(str(error)))
    if url is not None:
        report.findings = list(map(of_database, report.findings))
    report.seconds = time.monotonic() - began
    return report


def _verify(ledger: Ledger, options: Options, report: Report, watcher: Watcher) -> None:
    if is_blank(ledger) and has_archive(ledger.lake):
        report.add(_lost("knows of nothing, and the lake has an archive"))
        return
    if options.prune:
        with coordinate(ledger):  # rather now than when all is read: is it free?
            pass
    strays = _check(ledger, options, report, watcher)
    if options.prune:
        strays = _prune(ledger, options.scope, strays, report)  # 5
    for stray in strays:
        report.add(stray.finding)


def _check(ledger: Ledger, options: Options, report: Report, watcher: Watcher) -> list[Stray]:
    """Tell of all that is not as it should be but strays, and return these."""
    for finding in check_ledger(ledger):  # 1
        report.add(finding)
    if any(finding.kind == "ledger" for finding in report.findings):
        report.add("the files were not looked at, as the ledger does not tell which there are")
        return []
    if all(finding.remedy == FORGET_REPORT for finding in report.findings):  # else holes are no JSON, say
        with ledger.reading() as connection:
            report.spans += read_spans(connection)
    damaged, strays = _check_files(ledger, options.scope, report, watcher)  # 2
    if any(finding == NO_TABLES for finding in report.findings):
        return strays
    for found in later.call("finkbridge.verify.published:check_catalog", ledger):  # 3
        report.add(found)
    if not damaged and options.scope.is_all:
        for finding in later.call("finkbridge.verify.published:check_counts", ledger):
            report.add(finding)
    if options.deep:
        _compare(ledger, options, damaged, report, watcher)  # 4
    return strays


def _prune(ledger: Ledger, scope: Scope, strays: list[Stray], report: Report) -> list[Stray]:
    """Delete what surely is not needed, and return the other strays."""
    if any(finding.kind != "catalog" and finding.remedy != FORGET_REPORT for finding in report.findings):
        report.add("nothing was pruned, as what is left over may be the only whole copy: mend the rest first")
        return strays
    try:
        with coordinate(ledger) as coordinator:
            report.pruned = prune(coordinator, scope)
    except CommitConflictError as error:  # a drain that has begun since
        report.add(f"nothing was pruned: {error}")
    return [stray for stray in strays if stray.path not in report.pruned]


def _compare(ledger: Ledger, options: Options, damaged: set[str], report: Report, watcher: Watcher) -> None:
    began = time.monotonic()
    make = later.get("finkbridge.verify.deep:Asked")
    asked = make(options.scope, options.sample, options.independent, damaged)
    later.call("finkbridge.verify.deep:compare", ledger, asked, report, watcher)
    report.compared_seconds = time.monotonic() - began


def _load_early(module: str) -> None:
    """Load a module while files are read."""

    def load() -> None:
        with suppress(Exception):  # who needs it meets it again, and tells
            later.load(module)

    threading.Thread(target=load, daemon=True).start()


def check_ledger(ledger: Ledger) -> Iterator[Finding]:
    """Yield what the ledger alone shows: by its database's own checks, then by ours."""
    try:
        yield from check_database(ledger)
        with ledger.reading() as connection:
            yield from check_offsets(connection)
        for run in ledger.damaged_reports():
            yield Finding("counts", f"run {run}", "its report is damaged", FORGET_REPORT)
        with ledger.reading() as connection:
            if tables_missing(connection):
                yield NO_TABLES
            else:
                yield from check_accounts(connection)
                yield from check_derived(connection)
    except LakeAccessError as error:
        yield _lost(str(error))
    except (TypeError, ValueError, SQLAlchemyError) as error:  # SQLite keeps a text where a number is due
        yield _lost(f"has what cannot be ({' '.join(str(error).split())[:200]})")


def _check_files(
    ledger: Ledger, scope: Scope, report: Report, watcher: Watcher
) -> tuple[set[str], list[Stray]]:
    """Check files; return the paths that are not to be read again, and the strays."""
    held = is_held(ledger)
    began, before = time.monotonic(), find_strays(ledger, scope)
    if scope.is_all:
        watcher.begin("files", total_bytes(ledger))

    def tell(file: Row[Any]) -> None:
        report.files += 1
        report.bytes += file.bytes
        report.rows += file.rows if file.table == "deliveries" and file.removed is None else 0
        watcher.advance(file.bytes)

    selection = select_scope(ledger, scope)
    for found in check_contents(ledger, selection, tell):
        report.add(found)
    damaged = {finding.where for finding in report.findings if finding.kind == "file"}
    for finding in later.call("finkbridge.verify.witness:check_witnesses", ledger, selection, damaged):
        report.add(finding)
    if not before:
        return damaged, []
    held = held or is_held(ledger)
    time.sleep(max(0.0, began + SETTLE_S - time.monotonic()) if held else 0.0)
    seen = {stray.path for stray in before}
    still = [stray for stray in find_strays(ledger, scope) if stray.path in seen]
    under_way = [stray for stray in still if held and stray.may_be_under_way]
    if under_way:
        example = under_way[0].path
        report.add(f"{len(under_way)} files, such as {example}, are being written by a running drain")
    return damaged, [stray for stray in still if stray not in under_way]


def _lost(problem: str) -> Finding:
    return Finding("ledger", layout.LEDGER, problem, RESTORE_LEDGER)
