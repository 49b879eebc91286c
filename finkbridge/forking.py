"""The server that worker processes are forked from.

It has the heavy modules loaded once, so that a further worker costs neither their import nor their memory
again. It knows nothing of settings: who surely needs it starts it before they are read.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext

from finkbridge.allocators import keep_children_flat

PRELOADED = ["finkbridge.worker_process", "finkbridge.task"]
"""Modules that it loads, in this order."""


def context() -> ForkServerContext:
    """Return the context of worker processes, whose server begins to load what they need.

    What keeps it small is told to it, and to what else is started from here, by the environment.
    """
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(PRELOADED)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's idle threads cost 20 MB a worker
    keep_children_flat()
    resource_tracker.ensure_running()  # the server would start it, which lets SIGINT through again
    # Ctrl-C is the coordinator's to handle; the server itself ignores it only when its modules are loaded,
    # and workers, which inherit what is blocked, never do
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()  # returns at once: the server loads its modules meanwhile
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return made
