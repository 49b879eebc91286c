"""Deleting files that no commit has, or has no more: those only that the ledger names."""

from __future__ import annotations

from collections.abc import Iterable

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


def delete_landed(coordinator: Coordinator, plans: Iterable[SegmentPlan]) -> None:
    """Delete what plans left in the lake that the ledger has just closed: no commit can have it any more.

    A process that dies between the two leaves files which no reader sees, as the ledger does not list them.
    """
    lake = coordinator.ledger.lake
    with disk.writing(lake):
        for plan in plans:
            for pattern in layout.plan_patterns(plan.source.topic, plan.number):
                for path in lake.glob(pattern):
                    path.unlink(missing_ok=True)
