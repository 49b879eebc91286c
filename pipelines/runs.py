"""Runs that are not over: which of them hold the lake, and which are dead."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
from dagster import DagsterRunStatus as Status

from pipelines.specs import LAKE_KEYS

DRAIN_JOB = "drain"
WAITING = (Status.QUEUED, Status.NOT_STARTED)
WORKING = (Status.STARTING, Status.STARTED, Status.CANCELING)
GRACE_S = 60.0
"""A run that began so recently is left alone: its process may not have told its id yet."""


def lake_runs(instance: dg.DagsterInstance, statuses: Sequence[Status]) -> Iterator[dg.RunRecord]:
    """Yield runs that write the lake: of the drain job, or materializations by hand."""
    for record in instance.get_run_records(dg.RunsFilter(statuses=list(statuses))):
        run = record.dagster_run
        if run.job_name == DRAIN_JOB or LAKE_KEYS & (run.asset_selection or frozenset()):
            yield record


def reap(instance: dg.DagsterInstance) -> list[str]:
    """Fail the runs whose process is gone, as after a power cut, and return their ids.

    Such a run would hold its pool until `max_runtime_seconds`. The process that asks also starts the runs, so
    a process id means the same here and there.
    """
    dead = []
    for record in lake_runs(instance, WORKING):
        if record.start_time is None or time.time() - record.start_time < GRACE_S:
            continue
        pid = _process_of(instance, record.dagster_run.run_id)
        if pid is not None and not _is_running(pid):
            instance.report_run_failed(record.dagster_run, f"the run's process {pid} is gone")
            dead.append(record.dagster_run.run_id)
    return dead


def _process_of(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """Return the id of the process that a run told at its start; None if it told none."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        told = entry.get_dagster_event().engine_event_data.metadata.get("pid")
        if told is not None and str(told.value).isdigit():
            return int(str(told.value))
    return None


def _is_running(pid: int) -> bool:
    """Whether the process is there, and a run's: ids are used again after a restart of the machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    command = Path(
        f"/proc/{pid}/cmdline"
    )  # on Linux only: elsewhere a reused id waits for max_runtime_seconds
    return not command.exists() or b"multiprocessing" in command.read_bytes()
