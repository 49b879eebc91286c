"""Deleting files that no commit has, or has no more: those only that the ledger names."""

from __future__ import annotations

from collections.abc import Sequence

from finkbridge import disk, layout
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
    patterns = {p for plan in plans for p in layout.plan_folders(plan.source.topic)}
    with disk.writing(lake):
        for folder in {folder for pattern in patterns for folder in lake.glob(pattern)}:
            for path in folder.iterdir() if folder.is_dir() else ():
                if layout.plan_of(path.name) in numbers:
                    path.unlink(missing_ok=True)
