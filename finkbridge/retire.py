"""Deleting files that no commit has, or has no more: those only that the ledger names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from finkbridge import disk, layout
from finkbridge.layout import SegmentName
from finkbridge.ledger import Coordinator
from finkbridge.values import SegmentPlan


def delete_replaced(coordinator: Coordinator, grace_s: float) -> int:
    """Delete files that were replaced longer ago than the grace period, in seconds; return how many."""
    lake = coordinator.ledger.lake
    old = coordinator.deletable(grace_s)
    with disk.writing(lake):
        for file in old:
            (lake / file.path).unlink(missing_ok=True)
    if old:
        coordinator.mark_deleted([file.id for file in old])
    return len(old)


def delete_unfinished_merges(coordinator: Coordinator) -> None:
    """Delete the merged files that a dead coordinator wrote and did not commit."""
    lake, left = coordinator.ledger.lake, coordinator.unfinished_merges()
    with disk.writing(lake):
        for path in left:
            (lake / path).unlink(missing_ok=True)
    if left:
        coordinator.forget_merges(left)


def delete_landed(coordinator: Coordinator, plans: Sequence[SegmentPlan]) -> None:
    """Delete what abandoned plans left in the lake, in one walk for all of them: no commit can have it."""
    lake = coordinator.ledger.lake
    with disk.writing(lake):
        for path, _ in _files_of(lake, plans):
            path.unlink(missing_ok=True)


def clear_closed(
    coordinator: Coordinator, plans: Sequence[SegmentPlan], gone: Sequence[SegmentPlan]
) -> list[str]:
    """Delete what closed plans left in the lake; set aside what may be the only copy of its messages.

    Parameters
    ----------
    coordinator
        Of the lake.
    plans
        That are closed, and not committed.
    gone
        Those of them whose messages the broker no longer has.

    Returns
    -------
    list of str
        A line for each whose files are set aside.
    """
    lost = {plan.number for plan in gone}
    if doomed := [plan for plan in plans if plan.number not in lost]:
        delete_landed(coordinator, doomed)
    return set_lost_aside(coordinator) if gone else []


def set_lost_aside(coordinator: Coordinator) -> list[str]:
    """Set aside what is left of plans that are lost, of a run that died, too; return a line for each.

    That goes to a folder which no rebuild reads: some of it may have landed otherwise, as of another life.
    """
    plans = coordinator.ledger.lost_plans()
    if not plans:
        return []
    lake, found = coordinator.ledger.lake, left_in_lake(coordinator.ledger.lake, plans)
    _set_aside(lake, (path for paths in found.values() for path in paths))
    delete_landed(coordinator, plans)  # what was on its way to its name
    coordinator.forget_lost()
    return [
        f"{plan.source.topic}: {len(found[plan.number])} files of plan {plan.number}, which a dead run left, "
        "are not all of it, or not surely of this life of the topic, and the broker no longer has its "
        f"messages: they are kept in the lake's folder {layout.UNFINISHED}, in no commit"
        for plan in plans
        if plan.number in found
    ]


def _set_aside(lake: Path, paths: Iterable[Path]) -> None:
    folders: dict[Path, None] = {}
    with disk.writing(lake):
        for path in paths:
            place = lake / layout.UNFINISHED / path.relative_to(lake)
            folders |= dict.fromkeys([*disk.make_folders(place.parent), place.parent, path.parent])
            while place.exists():  # a ledger that was put back from a copy gives numbers twice
                place = place.with_name(f"{place.name}~")
            path.rename(place)
        for folder in folders:
            disk.sync_folder(folder)


def left_in_lake(lake: Path, plans: Sequence[SegmentPlan]) -> dict[int, list[Path]]:
    """Return the data files in a lake that are named as of plans, by number, in one walk for all of them."""
    found: dict[int, list[Path]] = {}
    with disk.writing(lake):
        for path, number in _files_of(lake, plans):
            if path.relative_to(lake).parts[0] in layout.DATA_FOLDERS:
                found.setdefault(number, []).append(path)
    return found


def greatest_number(lake: Path, topics: str) -> int:
    """Return the greatest number of a plan in the names of the files of topics, a pattern; 0 for none."""
    with disk.writing(lake):
        return max((layout.plan_of(path.name) or 0 for path in _landed(lake, {topics})), default=0)


def skip_used_numbers(coordinator: Coordinator) -> None:
    """Have no number given twice where the ledger may be an older copy: it did not publish the catalog."""
    lake = coordinator.ledger.lake
    catalog = lake / layout.CATALOG
    if not catalog.is_file() or catalog.stat().st_mtime_ns != coordinator.published_mtime_ns():
        coordinator.skip_numbers(greatest_number(lake, "*"))


def _files_of(lake: Path, plans: Sequence[SegmentPlan]) -> Iterator[tuple[Path, int]]:
    """Yield the files that are named as of plans, with the plan's number.

    A ledger that was put back from a copy gives numbers twice: what begins elsewhere is of another plan.
    """
    known = {(layout.short_topic(p.source.topic), p.source.generation, p.number): p for p in plans}
    for path in _landed(lake, {plan.source.topic for plan in plans}):
        with suppress(ValueError):  # foreign, or a merge's
            name = SegmentName.parse(path.name)
            plan = known.get((name.topic, name.generation, name.plan))
            if plan is not None and _begins_in(plan, name):
                yield path, plan.number


def _begins_in(plan: SegmentPlan, name: SegmentName) -> bool:
    return any(r.partition == name.partition and r.start <= name.start < r.end for r in plan.ranges)


def _landed(lake: Path, topics: Iterable[str]) -> Iterator[Path]:
    """Yield all that lies where plans of topics leave their files."""
    patterns = {pattern for topic in topics for pattern in layout.plan_folders(topic)}
    for folder in {folder for pattern in patterns for folder in lake.glob(pattern)}:
        if folder.is_dir():
            yield from list(folder.iterdir())
