"""How many worker processes there are to be, and whether the server that they come from is worth starting."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from finkbridge import layout
from finkbridge.forking import context
from finkbridge.settings import COORDINATOR_BYTES, Settings

WORTH_A_PROCESS_BYTES = 32_000_000
"""Starting worker processes costs about a second: for less work than this, one process is quicker."""

QUIET_S = 3600.0
"""A lake that was not written for so long most likely has much to drain."""


def worker_count(settings: Settings, backlog_bytes: float) -> int:
    """Return how many worker processes to use; 0 is none, the work is done in this process."""
    if settings.workers is not None:
        return settings.workers
    if backlog_bytes < WORTH_A_PROCESS_BYTES:
        return 0
    affordable = (settings.memory_bytes - COORDINATOR_BYTES) // settings.drain.worker_bytes
    busy = -(-int(backlog_bytes) // settings.drain.segment_bytes)
    return max(0, min(os.cpu_count() or 1, affordable, busy))


def expect_work(settings: Settings) -> None:
    """Start the server of workers before it is known whether there is work, where there most likely is.

    That is in a lake that is new or was not written for an hour: a drain of a whole night begins a second
    earlier. Elsewhere, as with a schedule of minutes, the server starts when work for it is found.
    """
    worth = WORTH_A_PROCESS_BYTES if settings.workers is None else 0
    limit = settings.drain.max_bytes
    if settings.workers == 0 or (limit is not None and limit < worth) or settings.drain.max_messages:
        return
    with suppress(OSError):
        if time.time() - (settings.lake / layout.CATALOG).stat().st_mtime < QUIET_S:
            return
    context()
