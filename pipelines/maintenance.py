"""Housekeeping that Dagster leaves to its users: purging old runs, or they fill the disk (60-90 MB a day)."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster import DagsterRunStatus as Status

KEEP_DAYS = 14
"""Of runs with their logs and plots."""
BATCH = 500
"""Events per query."""


class PurgeConfig(dg.Config):
    """How much history to keep."""

    keep_days: float = KEEP_DAYS


@dg.op(description="Delete runs that are older than `keep_days` and hold nobody's newest materialization.")
def purge_runs(context: dg.OpExecutionContext, config: PurgeConfig) -> None:
    """Purge old runs."""
    home = Path(context.instance.root_directory)
    purged = purge(context.instance, home, timedelta(days=config.keep_days))
    context.log.info(f"{purged} runs older than {config.keep_days:g} days purged")


@dg.job(
    name="maintenance",
    executor_def=dg.in_process_executor,
    description="Purges Dagster's old runs. The lake is not touched.",
)
def maintenance_job() -> None:
    """Keep Dagster's own disk use bounded."""
    purge_runs()


maintenance_schedule = dg.ScheduleDefinition(
    name="maintenance_schedule",
    job=maintenance_job,
    cron_schedule="17 12 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Once a day, at noon UTC: the hour in which neither observatory works.",
)


def purge(instance: dg.DagsterInstance, home: Path, keep: timedelta) -> int:
    """Delete finished runs older than `keep` with the files that `delete_run` leaves; return how many.

    `delete_run` also deletes a run's materializations, so runs with an asset's or a partition's newest stay.
    """
    over = [Status.SUCCESS, Status.FAILURE, Status.CANCELED]
    old = dg.RunsFilter(statuses=over, created_before=datetime.now(UTC) - keep)
    holding = set(_holders_of_newest(instance))
    ids = [record.dagster_run.run_id for record in instance.get_run_records(old)]
    purged = [run_id for run_id in ids if run_id not in holding]
    for run_id in purged:
        instance.delete_run(run_id)
        for file in (home / "history" / "runs").glob(f"{run_id}.db*"):
            file.unlink(missing_ok=True)
        shutil.rmtree(home / "storage" / run_id, ignore_errors=True)
    return len(purged)


def _holders_of_newest(instance: dg.DagsterInstance) -> Iterator[str]:
    """Yield ids of runs that hold the newest materialization of an asset or of a partition."""
    for key in instance.all_asset_keys():
        newest = instance.get_latest_materialization_event(key)
        if newest is not None:
            yield newest.run_id
        by_partition = instance.get_latest_storage_id_by_partition(
            key, dg.DagsterEventType.ASSET_MATERIALIZATION
        )
        ids = list(by_partition.values())
        for start in range(0, len(ids), BATCH):
            wanted = dg.AssetRecordsFilter(asset_key=key, storage_ids=ids[start : start + BATCH])
            yield from (r.run_id for r in instance.fetch_materializations(wanted, limit=BATCH).records)
