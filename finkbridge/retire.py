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
    numbers = {plan.number for plan in plans}
    with disk.writing(lake):
        for path in _landed(lake, {plan.source.topic for plan in plans}):
            if layout.plan_of(path.name) in numbers:
                path.unlink(missing_ok=True)


def clear_closed(
    coordinator: Coordinator, plans: Sequence[SegmentPlan], gone: Sequence[SegmentPlan]
) -> list[str]:
    """Delete what closed plans left in the lake; set aside what may be the only copy of its messages.

    That goes to a folder which no rebuild reads: some of it may have landed otherwise, as of another life.

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
    left = left_in_lake(coordinator.ledger.lake, gone)
    if doomed := [plan for plan in plans if plan.number not in left]:
        delete_landed(coordinator, doomed)
    _set_aside(coordinator.ledger.lake, (path for paths in left.values() for path in paths))
    return [
        f"{plan.source.topic}: {len(left[plan.number])} files of plan {plan.number}, which a dead run left, "
        "are not all of it, or not surely of this life of the topic, and the broker no longer has its "
        f"messages: they are kept in the lake's folder {layout.UNFINISHED}, in no commit"
        for plan in plans
        if plan.number in left
    ]


def _set_aside(lake: Path, paths: Iterable[Path]) -> None:
    with disk.writing(lake):
        for path in paths:
            place = lake / layout.UNFINISHED / path.relative_to(lake)
            place.parent.mkdir(parents=True, exist_ok=True)
            while place.exists():  # a ledger that was put back from a copy gives numbers twice
                place = place.with_name(f"{place.name}~")
            path.rename(place)


def left_in_lake(lake: Path, plans: Sequence[SegmentPlan]) -> dict[int, list[Path]]:
    """Return the data files in a lake that are named as of plans, by number, in one walk for all of them."""
    known = {(layout.short_topic(p.source.topic), p.source.generation, p.number) for p in plans}
    found: dict[int, list[Path]] = {}
    with disk.writing(lake):
        for path in _landed(lake, {plan.source.topic for plan in plans}):
            with suppress(ValueError):  # foreign, or a merge's
                name = SegmentName.parse(path.name)
                is_data = path.relative_to(lake).parts[0] in layout.DATA_FOLDERS
                if is_data and (name.topic, name.generation, name.plan) in known:
                    found.setdefault(name.plan, []).append(path)
    return found


def greatest_number(lake: Path, topics: str) -> int:
    """Return the greatest number of a plan in the names of the files of topics, a pattern; 0 for none."""
    with disk.writing(lake):
        return max((layout.plan_of(path.name) or 0 for path in _landed(lake, {topics})), default=0)


def skip_used_numbers(coordinator: Coordinator) -> None:
    """Have no number given twice where the ledger may be an older copy: it did not publish the catalog."""
    lake = coordinator.ledger.lake
    catalog = lake / layout.CATALOG
    if catalog.is_file() and catalog.stat().st_mtime_ns != coordinator.published_mtime_ns():
        coordinator.skip_numbers(greatest_number(lake, "*"))


def _landed(lake: Path, topics: Iterable[str]) -> Iterator[Path]:
    """Yield all that lies where plans of topics leave their files."""
    patterns = {pattern for topic in topics for pattern in layout.plan_folders(topic)}
    for folder in {folder for pattern in patterns for folder in lake.glob(pattern)}:
        if folder.is_dir():
            yield from list(folder.iterdir())
