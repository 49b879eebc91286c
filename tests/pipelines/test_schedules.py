"""The schedule asks for a run when there is something to drain, and says why when there is not."""

from __future__ import annotations

import logging
import subprocess
import sys
import time

import dagster as dg
import pytest
from dagster import DagsterRunStatus as Status

from finkbridge.lag import Lag, TopicLag
from finkbridge.settings import Settings, load_settings
from pipelines import runs, schedules
from pipelines.definitions import definitions
from tests.pipelines.conftest import Environment, ztf_records
from tests.support.kafka import Kafka

LOG = logging.getLogger(__name__)


def tick(instance: dg.DagsterInstance) -> dg.ScheduleExecutionData:
    """Let the schedule decide, as at a tick."""
    schedule = schedules.drain_schedule(Settings())
    repository = definitions(load_settings().settings).get_repository_def()
    context = dg.build_schedule_context(instance=instance, repository_def=repository)
    return schedule.evaluate_tick(context)


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "GRACE_S", 0.0)


def put_lag(monkeypatch: pytest.MonkeyPatch, lag: Lag) -> None:
    monkeypatch.setattr(schedules, "measure_lag", lambda _: lag)


@pytest.mark.kafka
def test_skips_until_there_is_something(
    kafka: Kafka, environment: Environment, instance: dg.DagsterInstance
) -> None:
    topic = kafka.topic("fink_a_ztf")
    lake = environment(kafka.bootstrap, topic)
    assert tick(instance).skip_message == "nothing new in 1 topic"
    kafka.produce(topic, ztf_records(3))
    (request,) = tick(instance).run_requests or []
    assert request.tags["finkbridge/lag"] == "3"
    assert not lake.exists(), "a tick only looks"


def test_without_settings_it_skips_and_says_what_to_set(instance: dg.DagsterInstance) -> None:
    assert str(tick(instance).skip_message).startswith("no cluster is set: put servers")


def test_a_cluster_that_is_down_fails_the_tick_unless_another_has_something(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = ("cluster lsst: nobody answers",)
    put_lag(monkeypatch, Lag((TopicLag("ztf", "a", 0),), 0, problem))
    with pytest.raises(dg.Failure, match="cluster lsst: nobody answers"):
        schedules.decide(LOG)
    put_lag(monkeypatch, Lag((TopicLag("ztf", "a", 2),), 0, problem))
    assert isinstance(schedules.decide(LOG), dg.RunRequest)


def test_what_a_dead_run_left_is_reason_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    put_lag(monkeypatch, Lag((), 1, ()))
    assert isinstance(schedules.decide(LOG), dg.RunRequest)
    put_lag(monkeypatch, Lag((), 0, ()))
    assert schedules.decide(LOG).skip_message == "no topic is there yet that the settings name"


def test_what_waits_of_a_cluster_that_is_no_longer_set_is_a_warning_and_no_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put_lag(monkeypatch, Lag((TopicLag("ztf", "a", 0),), 0, (), ("cluster gone is not in the settings",)))
    with caplog.at_level(logging.WARNING):
        assert schedules.decide(LOG).skip_message == "nothing new in 1 topic"
    assert [record.getMessage() for record in caplog.records] == ["cluster gone is not in the settings"]


def begin(instance: dg.DagsterInstance, status: Status, **more: object) -> dg.DagsterRun:
    """Put a run into the instance as it is while it works."""
    job = definitions(load_settings().settings).resolve_job_def(str(more.pop("job", "drain")))
    return instance.create_run_for_job(job, status=status, **more)  # type: ignore[arg-type]


def tell_pid(instance: dg.DagsterInstance, run: dg.DagsterRun, pid: int) -> None:
    """Note the process of a run, as Dagster does at its start."""
    instance.report_engine_event(
        f"Started process for run (pid: {pid}).",
        run,
        dg._core.events.EngineEventData.in_process(pid),  # type: ignore[attr-defined]
    )
    instance.report_dagster_event(
        dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name), run.run_id
    )


@pytest.fixture
def dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


@pytest.mark.parametrize("status", [Status.NOT_STARTED, Status.STARTED])
def test_it_waits_for_a_run_that_is_not_over(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, status: Status
) -> None:
    put_lag(monkeypatch, Lag((TopicLag("ztf", "a", 2),), 0, ()))
    begin(instance, status)
    assert tick(instance).skip_message == "1 run that writes the lake is not over"


def test_a_run_of_another_job_does_not_count(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_lag(monkeypatch, Lag((TopicLag("ztf", "a", 2),), 0, ()))
    begin(instance, Status.STARTED, job="maintenance")
    assert tick(instance).run_requests


def test_a_dead_run_is_failed_and_its_lake_free(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, dead_pid: int
) -> None:
    put_lag(monkeypatch, Lag((TopicLag("ztf", "a", 2),), 0, ()))
    run = begin(instance, Status.STARTED)
    tell_pid(instance, run, dead_pid)
    assert tick(instance).run_requests
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status == Status.FAILURE
    told = [entry.message for entry in instance.all_logs(run.run_id)]
    assert any(f"process {dead_pid} is gone" in message for message in told)


def test_a_materialization_by_hand_that_died_is_failed_too(
    instance: dg.DagsterInstance, dead_pid: int
) -> None:
    keys = frozenset({dg.AssetKey("catalog")})
    run = begin(instance, Status.STARTED, asset_selection=keys)
    tell_pid(instance, run, dead_pid)
    assert runs.reap(instance) == [run.run_id]


def test_a_living_run_is_left_alone(instance: dg.DagsterInstance) -> None:
    sleeper = "import multiprocessing, time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", sleeper]) as living:
        try:
            tell_pid(instance, begin(instance, Status.STARTED), living.pid)
            time.sleep(0.1)
            assert runs.reap(instance) == []
        finally:
            living.kill()


def test_a_run_that_just_began_is_left_alone(
    instance: dg.DagsterInstance, dead_pid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "GRACE_S", 60.0)
    tell_pid(instance, begin(instance, Status.STARTED), dead_pid)
    assert runs.reap(instance) == []


def test_a_look_is_due_an_hour_after_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is new, and that is written down: certificates of nights rest on it."""
    put_lag(monkeypatch, Lag((TopicLag("ztf", "a", 0),), 0, (), (), time.time() - 3500))
    assert isinstance(schedules.decide(LOG), dg.SkipReason)
    put_lag(monkeypatch, Lag((TopicLag("ztf", "a", 0),), 0, (), (), time.time() - 3700))
    assert isinstance(schedules.decide(LOG), dg.RunRequest)
