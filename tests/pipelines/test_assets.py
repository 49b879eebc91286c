"""A run of Dagster on a real Kafka: what lands, what the UI is told, and what a failure keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from finkbridge import catalog, layout
from finkbridge.ledger import Coordinator, Ledger, coordinate
from finkbridge.report import DrainReport
from finkbridge.settings import load_settings
from finkbridge.values import UNDATED_NIGHT, TopicGeneration
from pipelines.assets import _report_nights
from pipelines.contents import TableContents
from pipelines.definitions import definitions
from tests.pipelines.conftest import Environment, ztf_records
from tests.support.kafka import Kafka
from tests.support.lake import delivered, next_offsets, real_alerts, sql

pytestmark = pytest.mark.kafka


def run(instance: dg.DagsterInstance, **config: Any) -> dg.ExecuteInProcessResult:
    """Run the drain job as the schedule does, or with config as a user does."""
    job = definitions(load_settings().settings).resolve_job_def("drain")
    run_config = {"ops": {"drain_topics": {"config": config}}} if config else None
    return job.execute_in_process(instance=instance, raise_on_error=False, run_config=run_config)


def materialized(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetMaterialization]:
    """Return what a run materialized in the lake, without partitions, by asset."""
    events = [e.step_materialization_data.materialization for e in result.get_asset_materialization_events()]
    named = {e.asset_key.to_user_string(): e for e in events if e.partition is None}
    return {name: event for name, event in named.items() if not name.startswith("kafka/")}


def values(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    """Return the one line that a failed run ends with."""
    (event,) = [e for e in result.all_events if e.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None, event
    assert data.description is not None
    assert "\n" not in data.description
    return data.description


def test_a_run_lands_both_topics_and_says_so(
    kafka: Kafka, environment: Environment, instance: dg.DagsterInstance
) -> None:
    a, b = kafka.topic("fink_a_ztf", partitions=2), kafka.topic("fink_b_ztf")
    records = ztf_records(30)
    kafka.produce(a, records[:20])
    kafka.produce(b, records[20:])
    lake = environment(kafka.bootstrap, a, b)

    result = run(instance)

    assert result.success
    assert len(delivered(lake)) == 30
    events = materialized(result)
    assert set(events) == {"raw_archive", "deliveries", "packets", "catalog"}
    said = values(events["deliveries"].metadata)
    expected = {"rows": 30, "messages": 30, "lag": 0, "quarantined": 0, "holes": 0, "expired": 0}
    assert {name: said[name] for name in expected} == expected
    assert (said[f"rows/{a}"], said[f"rows/{b}"], said["dagster/row_count"]) == (20, 10, 30)
    assert said["MB"] == round(sum(len(value or b"") for _, value in records) / 1e6, 3)
    assert said["messages_per_second"] == pytest.approx(30 / said["seconds"], rel=0.05)
    table = events["packets"].metadata["topics"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [(r.data["topic"], r.data["rows"], r.data["lag"]) for r in table.records] == [
        (a, 20, 0),
        (b, 10, 0),
    ]
    assert all(check.passed for check in checks(result).values())
    assert len(checks(result)) == 4
    assert values(events["catalog"].metadata)["rows/packets"] == 30


def test_the_catalog_is_written_once_a_run_and_anew_by_hand(
    kafka: Kafka, environment: Environment, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = environment(kafka.bootstrap, kafka.topic("fink_a_ztf"))
    (topic,) = load_settings().settings.clusters["ztf"].topics
    written: list[int] = []
    publish = catalog.publish

    def counted(coordinator: Coordinator, *rest: Any) -> list[str]:
        refused = publish(coordinator, *rest)
        written.append(coordinator.published())
        return refused

    monkeypatch.setattr(catalog, "publish", counted)
    kafka.produce(topic, ztf_records(3))
    assert values(materialized(run(instance))["catalog"].metadata)["commit"] == 1
    assert written == [1]
    (lake / layout.CATALOG).unlink()
    by_hand = definitions(load_settings().settings).resolve_implicit_global_asset_job_def()
    for _ in range(2):
        done = by_hand.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("catalog")])
        assert done.success
    assert written == [1, 1, 1]
    assert (lake / layout.CATALOG).is_file()


def test_nights_get_their_rows_as_partitions(
    kafka: Kafka, environment: Environment, instance: dg.DagsterInstance
) -> None:
    topic = kafka.topic("fink_a_ztf")
    lake = environment(kafka.bootstrap, topic)
    kafka.produce(topic, ztf_records(30)[:10])
    assert run(instance).success
    kafka.produce(topic, ztf_records(30)[10:])
    result = run(instance)
    key = dg.AssetKey("deliveries_by_night")
    in_lake = {str(n): r for n, r in sql(lake, "SELECT night, count(*) FROM deliveries GROUP BY 1")}
    partitions = instance.get_materialized_partitions(key)
    assert {p.replace("-", "") for p in partitions} == set(in_lake)
    events = [e.step_materialization_data.materialization for e in result.get_asset_materialization_events()]
    nights = {e.partition: values(e.metadata) for e in events if e.partition}
    assert sum(said["rows"] for said in nights.values()) == 20
    assert all(
        said["dagster/partition_row_count"] == in_lake[p.replace("-", "")] for p, said in nights.items()
    )


def test_lag_is_observed_on_the_topics_and_a_drain_by_hand_takes_its_limits(
    kafka: Kafka, environment: Environment, instance: dg.DagsterInstance
) -> None:
    mine, other = kafka.topic("fink_mine_ztf"), kafka.topic("fink_other_ztf")
    kafka.produce(mine, ztf_records(30))
    kafka.produce(other, ztf_records(5))
    lake = environment(kafka.bootstrap, mine, other)

    result = run(instance, topics=[f"{mine[:-4]}*"], max_messages=20)

    assert result.success
    assert {topic for topic, *_ in delivered(lake)} == {mine}
    assert len(delivered(lake)) == 20
    (event,) = result.get_asset_observation_events()
    observation = event.asset_observation_data.asset_observation
    assert observation.asset_key == dg.AssetKey(["kafka", "ztf", mine])
    assert values(observation.metadata) == {"lag": 10, "messages": 20, "quarantined": 0, "expired": 0}


def test_a_run_that_finds_nothing_materializes_nothing(
    kafka: Kafka, environment: Environment, instance: dg.DagsterInstance
) -> None:
    environment(kafka.bootstrap, kafka.topic("fink_a_ztf"))
    result = run(instance)
    assert result.success
    assert materialized(result) == {}
    assert all(check.passed for check in checks(result).values())


def test_what_cannot_be_decoded_is_a_warning_and_a_gap_is_an_error(
    kafka: Kafka, environment: Environment, instance: dg.DagsterInstance
) -> None:
    topic = kafka.topic("fink_a_ztf")
    records = ztf_records(6)
    kafka.produce(topic, [*records[:3], (records[0][0], b"no avro"), *records[3:]])
    lake = environment(kafka.bootstrap, topic)
    first = run(instance)
    assert first.success
    bad = checks(first)["nothing_quarantined"]
    assert (bad.passed, bad.severity, bad.metadata["quarantined"].value) == (
        False,
        dg.AssetCheckSeverity.WARN,
        1,
    )
    assert checks(first)["counts_reconcile"].passed
    assert checks(first)["no_gap"].passed

    kafka.produce(topic, records)
    kafka.expire(topic, {0: 9})
    second = run(instance)
    gap = checks(second)["no_gap"]
    assert (gap.passed, gap.severity, gap.metadata["expired"].value) == (
        False,
        dg.AssetCheckSeverity.ERROR,
        2,
    )
    assert checks(second)["nothing_quarantined"].passed
    assert next_offsets(lake) == {0: 13}


def test_a_cluster_that_is_down_fails_the_run_but_loses_nothing_of_the_other(
    kafka: Kafka, environment: Environment, instance: dg.DagsterInstance
) -> None:
    topic = kafka.topic("fink_a_ztf")
    kafka.produce(topic, ztf_records(8))
    environment("127.0.0.1:1", "fink_a_lsst", cluster="lsst")
    lake = environment(kafka.bootstrap, topic)

    result = run(instance)

    assert not result.success
    assert "lsst" in failure(result)
    assert "8 rows landed and stay" in failure(result)
    assert set(materialized(result)) >= {"raw_archive", "deliveries", "packets"}
    assert len(delivered(lake)) == 8
    assert all(check.passed for check in checks(result).values())


def test_a_lake_that_is_held_is_one_clear_line(
    kafka: Kafka, environment: Environment, instance: dg.DagsterInstance
) -> None:
    topic = kafka.topic("fink_a_ztf")
    kafka.produce(topic, ztf_records(3))
    lake = environment(kafka.bootstrap, topic)
    with Ledger(lake, create=True) as ledger, coordinate(ledger):
        result = run(instance)
    assert "is being written by" in failure(result)
    assert "nothing was changed" in failure(result)
    assert run(instance).success
    assert len(delivered(lake)) == 3


def test_without_settings_a_run_says_what_to_set(instance: dg.DagsterInstance) -> None:
    assert failure(run(instance)).startswith("no cluster is set: put servers under")


def test_no_secret_reaches_dagster(
    kafka: Kafka, environment: Environment, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("fink_a_ztf")
    kafka.produce(topic, ztf_records(3))
    environment(kafka.sasl_bootstrap, topic)
    monkeypatch.setenv("FINKBRIDGE_CLUSTERS__ZTF__USERNAME", kafka.username)
    monkeypatch.setenv("FINKBRIDGE_CLUSTERS__ZTF__PASSWORD", kafka.password)
    good = run(instance)
    monkeypatch.setenv("FINKBRIDGE_CLUSTERS__ZTF__PASSWORD", "S3cret-and-wrong")
    bad = run(instance)
    assert (good.success, bad.success) == (True, False)
    for result in (good, bad):
        told = "".join(str(entry) for entry in instance.all_logs(result.run_id))
        assert kafka.password not in told
        assert "S3cret-and-wrong" not in told


def test_real_alerts_of_both_surveys(
    kafka: Kafka, environment: Environment, instance: dg.DagsterInstance, shared_data: Path
) -> None:
    names = {survey: kafka.topic(f"fink_{survey}") for survey in ("ztf", "lsst")}
    sent = {survey: real_alerts(shared_data / survey).records for survey in names}
    for survey, topic in names.items():
        kafka.produce(topic, sent[survey])
    lake = environment(kafka.bootstrap, *names.values())
    result = run(instance)
    assert result.success, failure(result)
    counted = dict(sql(lake, "SELECT survey, count(*) FROM deliveries GROUP BY survey"))
    assert counted == {survey: len(records) for survey, records in sent.items()}
    assert all(check.passed for check in checks(result).values())


def test_rows_without_a_night_are_in_no_partition(instance: dg.DagsterInstance) -> None:
    report = DrainReport()
    topic = report.topic(TopicGeneration("ztf", "fink_grb", 1))
    topic.nights = {UNDATED_NIGHT: 3, 20260301: 2}
    tables = {"deliveries": TableContents(by_night=Counter({UNDATED_NIGHT: 3, 20260301: 9}))}
    events: list[dg.AssetMaterialization] = []
    context: Any = SimpleNamespace(instance=instance, log_event=events.append)
    _report_nights(context, report, tables)
    assert instance.get_dynamic_partitions("nights") == ["2026-03-01"]
    (event,) = events
    assert (event.partition, values(event.metadata)) == (
        "2026-03-01",
        {"rows": 2, "dagster/partition_row_count": 9},
    )
