"""Where segments are landed: in this process, or in several that share nothing with it.

Worker processes come from a server that has the heavy modules loaded once: see `finkbridge.forking`. A
process that lands nothing never loads them.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from finkbridge import later, panics
from finkbridge.access import Access
from finkbridge.errors import WorkerError
from finkbridge.forking import context
from finkbridge.pool import ProcessExecutor
from finkbridge.values import Export, LandedPart, SegmentPlan

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Task:
    """All that a worker needs to land one plan."""

    plan: SegmentPlan
    lake: Path
    cluster: Access
    engine: Literal["auto", "fastavro"]
    schema_override: bytes | None
    broker_timeout_s: float
    timeout_s: float = 60.0
    """Of a part that has no bytes; see `finkbridge.deadline`."""
    max_schemas: int | None = None
    """Of a topic's life; see `finkbridge.settings.DecodeSettings`."""
    max_columns: int | None = None
    """Of those schemas together."""
    known_schemas: Mapping[str, int] = field(default_factory=dict)
    """Fingerprints of those that are in the lake, with their columns."""
    schema_folder: Path | None = None
    """Of writer schemas that keys only name."""
    refusal: str = ""
    """Why the plan's messages go to quarantine unseen; empty: they are decoded."""
    run: int = 0
    """Number of the run in the ledger."""
    export: Export | None = None
    """How they are written to a plain folder; None: into a lake."""


class InProcessExecutor(Executor):
    """Runs each call at once, in this process."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run the call and return its finished future."""
        future: Future[T] = Future()
        try:
            future.set_result(panics.call(fn, *args, **kwargs))
        except Exception as error:  # noqa: BLE001 - it is the caller's, who gets it from the future
            future.set_exception(error)
            # future and error have each other, and would keep a segment until Python looks for garbage
            traceback.clear_frames(error.__traceback__)
        return future


def open_executor(workers: int) -> Executor:
    """Return an executor of so many processes; with 0, one that works in this process."""
    if workers == 0:
        return InProcessExecutor()
    return ProcessExecutor(workers, context, prepare_worker)


def stop_executor(executor: Executor) -> None:
    """End the workers now, whatever they are doing: nothing that they left is committed."""
    executor.shutdown(wait=True, cancel_futures=True)


def run_task(task: Task) -> tuple[LandedPart, ...]:
    """Land a plan, in whatever process this runs."""
    landed: tuple[LandedPart, ...] = later.call("finkbridge.task:land_task", task)
    return landed


def cannot_start(refusal: OSError | EOFError) -> WorkerError:
    """Return the error for a system that gives no process, or whose server of processes ended (EOFError)."""
    reason = refusal.strerror if isinstance(refusal, OSError) else "the server of workers ended"
    return WorkerError(
        f"no worker process can be started ({reason}): run again, with `--workers 0` if it stays so"
    )


def prepare_worker() -> None:
    """Make a new process a worker: it shares what it can, and ends with its coordinator."""
    gc.freeze()  # the collector would touch, and so copy, all that is shared with the server
    gc.enable()  # which had it off while it loaded its modules
    threading.Thread(target=_die_with_coordinator, daemon=True).start()


def _die_with_coordinator() -> None:
    """End this process when its coordinator is gone, so that no orphan keeps writing.

    The process that it was forked from tells nothing: the fork server lives as long as its workers.
    """
    if (coordinator := multiprocessing.parent_process()) is not None:
        coordinator.join()
        os._exit(1)
