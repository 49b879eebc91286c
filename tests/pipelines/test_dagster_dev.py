"""The whole of it, as a user starts it: ``dagster dev``, a run by GraphQL, rows in the lake."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipelines.conftest import Environment, ztf_records
from tests.support.dagster_dev import SCHEDULES, dagster_dev
from tests.support.kafka import Kafka
from tests.support.lake import delivered


@pytest.mark.slow
@pytest.mark.kafka
def test_a_run_through_dagster_dev_fills_the_lake(
    kafka: Kafka, environment: Environment, tmp_path: Path
) -> None:
    topic = kafka.topic("fink_a_ztf")
    kafka.produce(topic, ztf_records(12))
    lake = environment(kafka.bootstrap, topic)
    home = tmp_path / "dagster_home"
    home.mkdir()
    with dagster_dev(home) as dev:
        schedules = dev.ask(SCHEDULES)["schedulesOrError"]["results"]
        states = {schedule["name"]: schedule["scheduleState"]["status"] for schedule in schedules}
        assert states == {"drain_schedule": "RUNNING", "maintenance_schedule": "RUNNING"}
        config = {"ops": {"drain_topics": {"config": {"topics": [topic], "max_messages": 10}}}}
        assert dev.ended(dev.launch("drain", config)) == "SUCCESS", (home / "dev.log").read_text()
        assert len(delivered(lake)) >= 10, "the schedule may have drained the rest"
        assert dev.ended(dev.launch("drain", {})) == "SUCCESS"
    assert len(delivered(lake)) == 12


@pytest.mark.slow
@pytest.mark.kafka
def test_with_patterns_all_stays_in_sync_whatever_is_drained_and_loaded_again(
    kafka: Kafka, environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code server has loaded its definitions before the topics are known, a run's process after."""
    monkeypatch.setenv("FINKBRIDGE_SCHEDULE__CRON", "0 0 1 1 *")
    first = kafka.topic("sync_first_ztf")
    kafka.produce(first, ztf_records(5))
    lake = environment(kafka.bootstrap, "sync_*_ztf*")
    home = tmp_path / "dagster_home"
    home.mkdir()
    lake_assets = {"raw_archive", "deliveries", "packets", "catalog"}
    with dagster_dev(home) as dev:
        assert {key for key, (status, _) in dev.stale().items() if status == "MISSING"} >= lake_assets
        assert dev.ended(dev.launch("drain", {})) == "SUCCESS", (home / "dev.log").read_text()
        synced = dict.fromkeys(
            ["kafka/ztf/sync_..._ztf...", "deliveries_by_night", *lake_assets], ("FRESH", [])
        )
        assert dev.stale() == synced
        second = kafka.topic("sync_second_ztf")
        kafka.produce(second, ztf_records(7))
        assert dev.ended(dev.launch("drain", {})) == "SUCCESS"
        assert dev.stale() == synced
        dev.reload()
        assert dev.stale() == synced
        kafka.produce(second, ztf_records(2))
        for keys in (["raw_archive", "deliveries", "packets"], ["catalog"]):
            assert dev.ended(dev.launch_assets(*keys)) == "SUCCESS"
        assert dev.stale() == synced
    assert {topic for topic, *_ in delivered(lake)} == {first, second}
    assert len(delivered(lake)) == 14
