"""Rebuilds the tables from the archive, with no broker, while every query goes on to see each row once.

    1 settle     what a dead rebuild made is kept where it is whole, and made again where it is not
    2 remake     each archive file, on any worker: the files of its rows, aside
    3 note       their paths, in the ledger; then they get their names. No query sees them yet
    4 switch     one transaction: all files of the tables that are alive are replaced by the new ones
    5 publish    the catalog; then small files merged, and replaced ones deleted after their grace period

Merged files have rows of many segments, and a segment has rows of many nights: so there is one switch, at the
end, and not one a segment. It takes room for the tables a second time. A rebuild that dies goes on where it
was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from finkbridge import __version__
from finkbridge.disk import Staging, clear_scratch, writing
from finkbridge.drain import Bridge
from finkbridge.errors import DecodeError, FinkbridgeError, LakeError
from finkbridge.ledger import Coordinator, coordinate
from finkbridge.ledger import rebuilt as r
from finkbridge.ledger.adopt import open_or_lost, refuse_if_lost, refuse_to_begin
from finkbridge.remake import Remade, RemakeTask, remake
from finkbridge.retire import delete_unfinished_merges
from finkbridge.settings import Settings
from finkbridge.staffing import worker_count
from finkbridge.workers import cannot_start, open_executor, stop_executor

Watch = Callable[[int, int], None]
"""Told how many bytes of the archive are done, and of how many."""


@dataclass(slots=True)
class RebuildReport:
    """What a rebuild did."""

    archives: int = 0
    """Archive files that were read."""
    kept: int = 0
    """Archive files that a rebuild which died had done already."""
    rows: int = 0
    """Rows made in this run, of each table."""
    bytes: int = 0
    """Of the archive files that were read."""
    seconds: float = 0.0
    commit: int = 0
    """Of the switch; 0 where it did not come to it."""
    problems: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def unwatched(done: int, total: int) -> None:
    """Take no note."""


def rebuild(settings: Settings, watch: Watch = unwatched) -> RebuildReport:
    """Make the tables and the catalog again from the archive files that the ledger lists.

    Raises
    ------
    LakeError
        Another coordinator has the lake, or it cannot be written. What was made is kept for the next try.
    """
    began = time.monotonic()
    with holding(settings, to_rebuild=True) as bridge:
        report = rebuild_tables(bridge, watch)
    report.seconds = time.monotonic() - began
    return report


@contextmanager
def holding(settings: Settings, *, to_rebuild: bool = False) -> Iterator[Bridge]:
    """Hold the lake, with no connection to any cluster.

    Raises
    ------
    LakeError
        Another coordinator has the lake, its ledger is lost, or its tables are missing and nobody is about
        `to_rebuild` them.
    """
    refuse_to_begin(settings.lake, settings.ledger_url)
    with open_or_lost(settings.lake, settings.ledger_url) as ledger, coordinate(ledger) as coordinator:
        refuse_if_lost(ledger, to_rebuild=to_rebuild)
        clear_scratch(settings.lake)
        delete_unfinished_merges(coordinator)
        yield Bridge(settings, coordinator, {})


def rebuild_tables(bridge: Bridge, watch: Watch) -> RebuildReport:
    """Make the tables and the catalog again in a lake that is held."""
    coordinator, report = bridge.coordinator, RebuildReport()
    report.kept = _settle(coordinator)  # 1
    _remake_all(bridge, report, watch)  # 2, 3
    if not report.problems:
        report.commit = r.commit_rebuild(coordinator)  # 4
        try:
            report.problems += bridge.publish()  # 5
        except LakeError as error:  # the tables are there: what was done is told all the same
            report.problems.append(str(error))
    return report


def _settle(coordinator: Coordinator) -> int:
    """Drop what a dead rebuild made and is not whole, or is of another version; return what is left."""
    r.prepare(coordinator)
    lake = coordinator.ledger.lake
    kept, bad, paths = set[int](), set[int](), dict[int, list[Path]]()
    for row in r.made(coordinator.ledger):
        path = lake / row.path
        paths.setdefault(row.archive_id, []).append(path)
        is_whole = row.made_by == __version__ and _size(path) == row.bytes
        (kept if is_whole else bad).add(row.archive_id)
    with writing(lake):
        for path in (path for archive_id in bad for path in paths[archive_id]):
            path.unlink(missing_ok=True)
    r.forget(coordinator, bad)
    return len(kept - bad)


def _remake_all(bridge: Bridge, report: RebuildReport, watch: Watch) -> None:
    sources = r.sources(bridge.coordinator.ledger)
    total = sum(source.file.bytes for source in sources)
    numbers = r.take_numbers(bridge.coordinator, len(sources)) if sources else range(0)
    lake, engine = bridge.settings.lake.absolute(), bridge.settings.decode.engine
    tasks = [RemakeTask(lake, source.file, n, engine) for source, n in zip(sources, numbers, strict=True)]
    for source, outcome in zip_done(bridge.settings, total, remake, sources, tasks):
        if isinstance(outcome, FinkbridgeError):
            report.problems.append(str(outcome))
            continue
        _keep(bridge.coordinator, source, outcome)  # 3
        report.archives += 1
        report.rows += source.file.rows
        report.bytes += source.file.bytes
        watch(report.bytes, total)


def _keep(coordinator: Coordinator, source: r.Source, remade: Remade) -> None:
    r.note(coordinator, source, __version__, remade.files, remade.schemas)
    place = Staging(coordinator.ledger.lake)
    with writing(place.lake):
        for aside, path in remade.aside:
            place.keep(aside, path)
        place.publish()


def zip_done(
    settings: Settings,
    work_bytes: int,
    function: Callable[[Any], Any],
    items: Sequence[Any],
    tasks: Sequence[Any],
) -> Iterator[tuple[Any, Any]]:
    """Run a function on tasks, on as many workers as they are worth; yield item and outcome as they come.

    A task that fails with an error of finkbridge gives the error; one of the lake itself ends it all.
    """
    workers = worker_count(settings, work_bytes)
    executor = open_executor(workers)
    waiting = iter(zip(items, tasks, strict=True))
    running: dict[Future[Any], Any] = {}
    try:
        while True:
            while len(running) <= workers and (some := next(waiting, None)) is not None:
                running[_submit(executor, function, some[1])] = some[0]
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), _outcome(future)
    except BrokenExecutor:
        raise DecodeError(
            "a worker process died: run again with --workers 0; what was done is kept"
        ) from None
    finally:
        stop_executor(executor)


def _submit(executor: Executor, function: Callable[[Any], Any], task: Any) -> Future[Any]:
    try:
        return executor.submit(function, task)
    except (OSError, EOFError) as refusal:
        raise cannot_start(refusal) from None


def _outcome(future: Future[Any]) -> Any:
    try:
        return future.result()
    except LakeError:
        raise
    except FinkbridgeError as error:
        return error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
