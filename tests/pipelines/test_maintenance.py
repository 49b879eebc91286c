"""Purging takes old runs with all their files, and never the newest word on an asset or a night."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from pipelines.maintenance import maintenance_job, purge


@dg.asset
def one(context: dg.AssetExecutionContext) -> None:
    night = str(context.run.tags["night"])
    context.log_event(dg.AssetMaterialization("by_night", partition=night))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "dagster"


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    home.mkdir()
    with dg.instance_for_test(temp_dir=str(home)) as instance:
        yield instance


def run(instance: dg.DagsterInstance, night: str) -> str:
    return dg.materialize([one], instance=instance, tags={"night": night}).run_id


def files_of(home: Path, run_id: str) -> list[Path]:
    return list(home.rglob(f"*{run_id}*"))


def test_purges_all_but_the_newest_of_each_asset_and_night(instance: dg.DagsterInstance, home: Path) -> None:
    superseded = run(instance, "2026-03-01")
    holds_a_night = run(instance, "2026-03-02")
    superseded_too = run(instance, "2026-03-01")
    newest = run(instance, "2026-03-01")
    assert files_of(home, superseded)
    assert purge(instance, home, timedelta(days=14)) == 0, "all are young"
    assert purge(instance, home, timedelta(seconds=-1)) == 2
    left = {record.dagster_run.run_id for record in instance.get_run_records()}
    assert left == {holds_a_night, newest}
    assert not files_of(home, superseded)
    assert not files_of(home, superseded_too)
    assert instance.get_materialized_partitions(dg.AssetKey("by_night")) == {"2026-03-01", "2026-03-02"}


def test_the_job_runs(instance: dg.DagsterInstance) -> None:
    run(instance, "2026-03-01")
    result = maintenance_job.execute_in_process(instance=instance)
    assert result.success
    told = " ".join(entry.message for entry in instance.all_logs(result.run_id))
    assert "0 runs older than 14 days purged" in told
