"""Deleting replaced files, when no reader can still mean them: those only that the ledger names."""

from __future__ import annotations

from finkbridge import disk
from finkbridge.ledger import Coordinator


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
