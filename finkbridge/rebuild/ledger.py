"""Rebuilds a ledger that is lost, from what the archive and quarantine files say, then the tables.

    1 examine    every archive and quarantine file, byte for byte, on any worker
    2 choose     the plans that were committed (`finkbridge.rebuild.choose`)
    3 adopt      one transaction: generations, ranges, segments, files, schemas, quarantine, gaps; where a
                 ledger is to be replaced, in a new one beside it
    4 exchange   it gets another name, and the new one its place; none is ever written over
    5 rebuild    the tables and the catalog, as ever (`finkbridge.rebuild.tables`); where that fails, a ledger
                 that was replaced gets its place back, and all is as before

The lake is held all the time. A file that is damaged ends it after 1, with nothing changed: restored, or
moved out of the lake, it is no hindrance any more. The tables' old files are not trusted, as only the lost
ledger had their checksums: they are made again.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from finkbridge import layout
from finkbridge.disk import clear_scratch
from finkbridge.drain import Bridge
from finkbridge.errors import LakeError, NoLakeError, SettingsError
from finkbridge.examine import Examined, ExamineTask, examine, rejections_in, schema_in
from finkbridge.lakefiles import data_paths
from finkbridge.layout import DataPath
from finkbridge.ledger import Coordinator, Ledger
from finkbridge.ledger.adopt import AdoptedPlan, AdoptedRequeue, Adoption, adopt, has_archive, is_blank
from finkbridge.ledger.locks import flock, held
from finkbridge.ledger.rebuilt import unfinished
from finkbridge.rebuild import exchange
from finkbridge.rebuild.choose import Choice, FoundPlan, choose, in_order, joined
from finkbridge.rebuild.report import LedgerReport
from finkbridge.rebuild.tables import RebuildReport, Watch, rebuild_tables, unwatched, zip_done
from finkbridge.retire import set_lost_aside
from finkbridge.settings import Settings
from finkbridge.values import LandedPart, SegmentPlan


def rebuild_ledger(
    settings: Settings, *, replace_old: bool = False, watch: Watch = unwatched
) -> LedgerReport:
    """Make a lost ledger again, then the tables and the catalog.

    Parameters
    ----------
    settings
        Of the lake.
    replace_old
        Give a ledger that is there another name, once the new one is made.
    watch
        Told of progress, twice over: for the files read, then for the tables made.

    Raises
    ------
    SettingsError
        There is a ledger already, or no archive.
    LakeError
        Another coordinator has the lake, or it cannot be written.
    """
    report, began = LedgerReport(), time.monotonic()
    if replace_old and settings.ledger_url is not None:
        raise SettingsError("--replace is for a ledger in the lake: empty the PostgreSQL database yourself")
    if not has_archive(settings.lake):
        raise SettingsError(f"{settings.lake} has no archive: there is nothing to make a ledger from")
    with _locked(settings):
        if replace_old:
            _finish_setting_aside(settings)
        else:
            _refuse_to_replace(settings)
        groups, last = _parts(sorted(data_paths(settings.lake)), report)
        found = _examine_all(settings, groups, report, watch)  # 1
        if report.problems:
            return report
        adoption = _adoption(found, last, report)  # 2
        clear_scratch(settings.lake)
        with exchange.beside(settings.lake) as aside:
            place = aside if replace_old else settings.lake
            with Ledger(place, settings.ledger_url, create=True) as ledger:
                _adopt(Coordinator(ledger), settings.lake, adoption, report)  # 3
            if replace_old:
                report.aside = exchange.exchange(settings.lake)  # 4
        report.tables = _make_tables(settings, report, watch)  # 5
        report.tables.seconds = time.monotonic() - began
    return report


def _adopt(coordinator: Coordinator, lake: Path, adoption: Adoption, report: LedgerReport) -> None:
    for requeue in adopt(coordinator, adoption, _Completing(lake).complete):
        report.add_strays(_paths(requeue.part), "its messages landed by another requeue, or are unknown")


def _make_tables(settings: Settings, report: LedgerReport, watch: Watch) -> RebuildReport:
    """Make the tables of a new ledger; where that fails, the one that it replaced gets its place back."""
    made: list[str] | None = [] if report.aside else None
    try:
        with Ledger(settings.lake, settings.ledger_url) as ledger:
            made = None  # it can be opened: what is in it says whether it is of use
            try:
                return rebuild_tables(Bridge(settings, Coordinator(ledger), {}), watch)
            finally:
                made = unfinished(ledger) if report.aside else None
    finally:
        if made is not None:
            exchange.put_back(settings.lake, report.aside, made)
            report.aside, report.put_back = "", True


@contextmanager
def _locked(settings: Settings) -> Iterator[None]:
    """Hold the lake, whether or not it has a ledger."""
    if settings.ledger_url is None:
        with flock(settings.lake):
            yield
        return
    with Ledger(settings.lake, settings.ledger_url, create=True) as ledger, held(ledger):
        yield


def _finish_setting_aside(settings: Settings) -> None:
    """Set aside what the old ledger, where it can be read, has given up: its messages may be there twice."""
    with suppress(LakeError), Ledger(settings.lake, settings.ledger_url) as ledger:
        set_lost_aside(Coordinator(ledger))


def _refuse_to_replace(settings: Settings) -> None:
    with suppress(NoLakeError), Ledger(settings.lake, settings.ledger_url) as ledger:
        if not is_blank(ledger):
            anew = "--replace gives it another name and makes a new one"
            if not ledger.is_sqlite:
                anew = "to make a new one, empty its database first"
            raise SettingsError(
                f"{settings.lake} has a ledger: nothing was changed; {anew}, `finkbridge rebuild` without "
                "--ledger makes the tables again"
            )


def _parts(paths: Iterable[str], report: LedgerReport) -> tuple[list[tuple[str, ...]], int]:
    """Return the archive and quarantine files by part, and the greatest number in any file's name."""
    groups: defaultdict[tuple[Any, ...], list[str]] = defaultdict(list)
    last = 0
    for path in paths:
        try:
            named = DataPath.parse(path)
        except ValueError:
            if not path.startswith(f"{layout.SCRATCH}/"):
                report.add_strays([path], "not finkbridge's")
            continue
        last = max(last, named.merged or 0, named.segment.plan if named.segment else 0)
        if named.segment is None or named.table in {"deliveries", "packets"}:
            report.unused_tables += 1
        else:
            name = named.segment
            groups[named.topic, name.generation, name.plan, name.part].append(path)
    return [tuple(mine) for mine in groups.values()], last


def _examine_all(
    settings: Settings, groups: Sequence[tuple[str, ...]], report: LedgerReport, watch: Watch
) -> list[Examined]:
    lake = settings.lake.absolute()
    sizes = [sum((lake / path).stat().st_size for path in paths) for paths in groups]
    tasks = [ExamineTask(lake, paths) for paths in groups]
    found: list[Examined] = []
    done = 0
    for size, outcome in zip_done(settings, sum(sizes), examine, sizes, tasks):
        done += size
        watch(done, sum(sizes))
        if isinstance(outcome, list):
            found += outcome
        else:
            report.problems.append(str(outcome))
    return found


def _adoption(found: Sequence[Examined], last: int, report: LedgerReport) -> Adoption:
    by_plan: defaultdict[tuple[Any, ...], list[Examined]] = defaultdict(list)
    for part in found:
        if part.requeued is None:
            by_plan[part.source, part.plan, part.planned].append(part)
    units: dict[FoundPlan, list[Examined]] = {}
    for parts in by_plan.values():
        parts.sort(key=lambda p: p.landed.part)
        plan = _found_plan(parts)
        units[plan] = parts
        units |= {piece: [part] for piece, part in zip(plan.parts, parts, strict=True)}
    choice = choose(plan for plan in units if plan.part is None)
    _tell(choice, units, report)
    numbers = _numbers(choice.taken, last)
    adopted = [
        AdoptedPlan(
            SegmentPlan(numbers[unit.name], unit.source, unit.ranges, 0),
            tuple(p.landed for p in units[unit]),
        )
        for unit in in_order(choice.taken)
    ]
    used = set(numbers.values())
    requeues = sorted((p for p in found if p.requeued is not None), key=lambda p: -p.plan)
    return Adoption(
        adopted,
        _closed(choice.superseded, used),
        _closed(choice.left, used),
        [AdoptedRequeue(p.source, frozenset(p.messages), p.landed) for p in requeues],
        choice.gaps,
        max(last, *used) if used else last,
    )


def _numbers(taken: Sequence[FoundPlan], last: int) -> dict[str, int]:
    """Return the number of each plan, by its name: a new one for all but the first that have the same.

    A ledger that was restored from an older copy had given numbers a second time.
    """
    numbers: dict[str, int] = {}
    used: set[int] = set()
    for unit in taken:
        if unit.name in numbers:
            continue
        number = unit.number
        if number in used:
            last = number = last + 1
        numbers[unit.name] = number
        used.add(number)
    return numbers


def _closed(plans: Iterable[FoundPlan], used: set[int]) -> list[SegmentPlan]:
    """Return plans whose numbers are free, which are used from now on."""
    found = []
    for plan in plans:
        if plan.number not in used:
            used.add(plan.number)
            found.append(SegmentPlan(plan.number, plan.source, plan.ranges, 0))
    return found


def _found_plan(parts: Sequence[Examined]) -> FoundPlan:
    first = parts[0]
    ranges = joined(count.range for part in parts for count in part.landed.counts)
    numbers = Counter(part.landed.part for part in parts)
    is_whole = all(part.is_whole for part in parts) and list(numbers) == list(range(len(parts)))
    if first.planned is not None:
        is_whole = is_whole and joined(first.planned) == ranges
    name = first.landed.files[0].path
    pieces = tuple(
        FoundPlan(
            first.plan,
            first.source,
            joined(count.range for count in part.landed.counts),
            part.is_whole and numbers[part.landed.part] == 1,
            name=name,
            part=at,
        )
        for at, part in enumerate(parts)
    )
    return FoundPlan(first.plan, first.source, ranges, is_whole, pieces, name)


def _tell(choice: Choice, units: dict[FoundPlan, list[Examined]], report: LedgerReport) -> None:
    taken = [part.landed for unit in choice.taken for part in units[unit]]
    counts = [count for part in taken for count in part.counts]
    report.plans, report.segments = len({unit.name for unit in choice.taken}), len(taken)
    report.quarantined = sum(c.quarantined for c in counts)
    report.messages = sum(c.rows for c in counts) + report.quarantined
    report.gaps = [
        f"{source.topic} (cluster {source.cluster}, generation {source.generation}), partition "
        f"{gap.partition}: offsets [{gap.start}, {gap.end})"
        for source, gap in choice.gaps
    ]
    for unit in choice.superseded:
        what = f"plan {unit.number} was given up: its messages are in others"
        report.add_strays((path for part in units[unit] for path in _paths(part.landed)), what)
    for unit in choice.left:
        why = "overlaps with others" if unit.is_whole else "is not whole"
        what = f"{_name(unit)} {why}; some of its offsets are in no other: keep it"
        report.add_strays((path for part in units[unit] for path in _paths(part.landed)), what)


def _name(unit: FoundPlan) -> str:
    return f"plan {unit.number}" if unit.part is None else f"a part of plan {unit.number}"


def _paths(part: LandedPart) -> Iterator[str]:
    return (file.path for file in part.files)


class _Completing:
    """Adds to a part what is read from its files again when it is written down."""

    def __init__(self, lake: Path) -> None:
        self._lake = lake
        self._known: set[str] = set()

    def complete(self, part: LandedPart) -> LandedPart:
        """Return a part with its schemas, those that were not given before, and its rejections."""
        schemas = tuple(schema_in(self._lake, f.path) for f in part.files if self._is_new(f.schema_id))
        rejected = (
            r for f in part.files if f.table == "quarantine" for r in rejections_in(self._lake, f.path)
        )
        return replace(part, schemas=schemas, rejected=tuple(rejected))

    def _is_new(self, schema_id: str) -> bool:
        is_new = bool(schema_id) and schema_id not in self._known
        self._known.add(schema_id)
        return is_new
